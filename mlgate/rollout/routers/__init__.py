"""What splits traffic, one module per kind; each is a `controller.Router`."""
