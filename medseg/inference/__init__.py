"""From a trained network to label maps in native space."""
