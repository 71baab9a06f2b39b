"""Two pretrained models that a package index serves, and what the product must compute on them."""
