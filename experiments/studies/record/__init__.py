"""The study of the smallest net: its nets, its images, its training, its report."""
