//! What the connections of a shard share.

use crate::deflate::{DeflateConfig, DeflatePool};
use crate::limits::Limits;
use crate::mask_keys::MaskKeys;
use crate::message::MessagePool;

/// Everything that a connection needs and does not own: one for all
/// connections of a shard.
#[derive(Debug)]
pub struct Resources {
    /// What a peer may make this endpoint hold.
    pub limits: Limits,
    /// Buffers for messages that must be assembled.
    pub pool: MessagePool,
    /// Mask keys; drawn from only in the client role.
    pub masks: MaskKeys,
    /// Compressors and inflaters; used only where permessage-deflate was
    /// agreed on.
    pub deflate: DeflatePool,
}

impl Resources {
    /// Pools that have allocated nothing yet.
    pub fn new(limits: Limits, masks: MaskKeys, deflate: DeflateConfig) -> Self {
        Self {
            limits,
            pool: MessagePool::new(),
            masks,
            deflate: DeflatePool::new(deflate),
        }
    }
}
