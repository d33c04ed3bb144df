"""Container images as bytes: read, analysed and written without a daemon; engines only carry them."""
