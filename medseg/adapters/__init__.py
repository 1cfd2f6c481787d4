"""Parameter-efficient tuning: small modules on the blocks of a frozen encoder, one file a method."""
