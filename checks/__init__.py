"""What runs offline over manifests, workflows and rules: `python -m checks`. Each module has `mistakes(root)`."""
