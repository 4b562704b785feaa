//! Bytes to layers. One file per protocol, no panic whatever the bytes: a dissector returns what it
//! understood and says where it stopped.
