//! The only spawner: cleared environment, own process group, killed with its owner.
