"""2D encoders behind one contract: feature maps, channels, strides."""
