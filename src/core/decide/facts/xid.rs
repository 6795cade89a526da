//! What the number of an Xid means for a GPU, by NVIDIA's catalogue (docs.nvidia.com/deploy/xid-errors). The driver's
//! own word, the recovery action, overrules it; it does not say which process raised an Xid.

/// What an Xid means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The GPU is off the bus.
    Gone,
    /// The GPU needs a reset, unless the driver says otherwise.
    NeedsReset,
    /// The driver wants something else done to the GPU than before.
    ActionChanged,
    /// Evidence of a group's fault at most (13, 31, 43, 45, 68, 69, 94, 109): the servers are asked. So they are for
    /// every Xid: a number that this table does not know may go with a fault, too.
    Evidence,
}

/// The one table of Xids.
pub(crate) fn meaning(xid: u32) -> Meaning {
    match xid {
        79 => Meaning::Gone,
        46 | 48 | 62 | 64 | 95 | 110 | 119 | 120 | 136 | 140 | 143 | 155 | 156 | 158 => Meaning::NeedsReset,
        154 => Meaning::ActionChanged,
        _ => Meaning::Evidence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_or_a_killed_client_raises_says_nothing_against_the_gpu() {
        for xid in [13, 31, 43, 45, 68, 69, 94, 109, 0, u32::MAX] {
            assert_eq!(meaning(xid), Meaning::Evidence, "{xid}");
        }
    }
}
