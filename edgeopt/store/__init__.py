"""What edgeopt keeps on this computer: content by digest, and measured runs."""
