//! The GPUs of a group: at least one, each once, in the order of the configuration.

use serde::{Deserialize, Serialize};

use super::GpuUuid;

/// GPUs of a group, or of an engine: at least one, each once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GpuSet {
    first: GpuUuid,
    others: Vec<GpuUuid>,
}

impl GpuSet {
    /// These GPUs, without repetitions; `None`: there is none.
    pub fn of(gpus: impl IntoIterator<Item = GpuUuid>) -> Option<Self> {
        let mut all = gpus.into_iter();
        let mut set = GpuSet::from(all.next()?);
        for gpu in all {
            if !set.contains(&gpu) {
                set.others.push(gpu);
            }
        }
        Some(set)
    }

    /// The first of them: the only one, for most.
    pub fn first(&self) -> &GpuUuid {
        &self.first
    }

    /// All of them, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = &GpuUuid> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Whether a GPU is among them.
    pub fn contains(&self, gpu: &GpuUuid) -> bool {
        self.iter().any(|known| known == gpu)
    }

    /// Whether there are more than one.
    pub fn are_several(&self) -> bool {
        !self.others.is_empty()
    }

    /// Their UUIDs as CUDA_VISIBLE_DEVICES takes them.
    pub fn visible(&self) -> String {
        self.iter().map(GpuUuid::as_str).collect::<Vec<_>>().join(",")
    }
}

impl From<GpuUuid> for GpuSet {
    fn from(gpu: GpuUuid) -> Self {
        GpuSet { first: gpu, others: Vec::new() }
    }
}

impl From<&str> for GpuSet {
    fn from(gpu: &str) -> Self {
        GpuUuid::from(gpu).into()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_gpu_is_there_once_and_in_the_order_in_which_it_was_named() {
        let set = GpuSet::of(["GPU-b", "GPU-a", "GPU-b"].map(GpuUuid::from)).unwrap();
        assert_eq!((set.visible().as_str(), set.first().as_str()), ("GPU-b,GPU-a", "GPU-b"));
        assert!(set.are_several() && set.contains(&"GPU-a".into()) && !set.contains(&"GPU-c".into()));
        assert_eq!(GpuSet::of([]), None);
        assert!(!GpuSet::from("GPU-a").are_several());
    }
}
