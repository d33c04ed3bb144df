// Verifies a bundle with a public key, offline; with a trusted root, the log is required too.
// usage: verify.mjs BUNDLE KEY.pub [TRUSTED_ROOT.json]
import fs from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { bundleFromJSON } = require("@sigstore/bundle");
const { crypto } = require("@sigstore/core");
const { TrustedRoot } = require("@sigstore/protobuf-specs");
const { Verifier, toSignedEntity, toTrustMaterial } = require("@sigstore/verify");

const [, , bundlePath, keyPath, rootPath] = process.argv;
const read = (path) => JSON.parse(fs.readFileSync(path, "utf8"));
const key = crypto.createPublicKey(fs.readFileSync(keyPath, "utf8"));
const empty = { mediaType: "", tlogs: [], ctlogs: [], certificateAuthorities: [], timestampAuthorities: [] };
const root = rootPath ? TrustedRoot.fromJSON(read(rootPath)) : empty;
const required = rootPath ? 1 : 0;
const trusted = toTrustMaterial(root, () => ({ publicKey: key, validFor: () => true }));
try {
  const limits = { tlogThreshold: required, ctlogThreshold: 0, timestampThreshold: required };
  new Verifier(trusted, limits).verify(toSignedEntity(bundleFromJSON(read(bundlePath))));
} catch (error) {
  console.error(error.code ?? error.name, error.message);
  process.exit(1);
}
