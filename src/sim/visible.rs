//! Which GPUs a process sees: CUDA_VISIBLE_DEVICES, over those of the machine or of its control daemon. Pure but for
//! that variable.

use std::env;

/// A GPU, as simulated processes name it among themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gpu {
    /// NVML's index.
    pub index: usize,
    pub uuid: String,
}

/// The machine's, by the driver's answer.
pub(crate) fn all(uuids: &str) -> Vec<Gpu> {
    uuids.split_whitespace().enumerate().map(|(index, uuid)| Gpu { index, uuid: uuid.to_owned() }).collect()
}

/// Those of a list `INDEX:UUID,...`.
pub(crate) fn listed(list: &str) -> Vec<Gpu> {
    let one = |word: &str| {
        let (index, uuid) = word.split_once(':')?;
        Some(Gpu { index: index.parse().ok()?, uuid: uuid.to_owned() })
    };
    list.split(',').filter_map(one).collect()
}

/// Those that a control daemon serves. It takes any name that it does not know for the first one: a machine has one.
pub(crate) fn to_the_daemon(all: &[Gpu]) -> Vec<Gpu> {
    let seen = to_us(all);
    if seen.is_empty() { all.iter().take(1).cloned().collect() } else { seen }
}

/// Those of `all` that this process's CUDA_VISIBLE_DEVICES names, in its order; all where it is unset.
pub(crate) fn to_us(all: &[Gpu]) -> Vec<Gpu> {
    match env::var("CUDA_VISIBLE_DEVICES") {
        Ok(visible) => named(&visible, all),
        Err(_) => all.to_vec(),
    }
}

/// Ordinals, or the beginnings of UUIDs. As CUDA has it, what follows one that is not there is not seen.
fn named(visible: &str, all: &[Gpu]) -> Vec<Gpu> {
    let find = |word: &str| match word.parse::<usize>() {
        Ok(ordinal) => all.get(ordinal).cloned(),
        Err(_) => all.iter().find(|gpu| word.starts_with("GPU-") && gpu.uuid.starts_with(word)).cloned(),
    };
    visible.split(',').map_while(|word| find(word.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indexes(visible: &str, all: &[Gpu]) -> Vec<usize> {
        named(visible, all).iter().map(|gpu| gpu.index).collect()
    }

    #[test]
    fn gpus_are_named_by_ordinals_or_uuids_up_to_the_first_that_is_not_there() {
        let machine = all("GPU-aa GPU-bb GPU-cc");
        assert_eq!(indexes("2,0", &machine), [2, 0]);
        assert_eq!(indexes("GPU-b,GPU-aa", &machine), [1, 0]);
        assert_eq!(indexes("1,7,0", &machine), [1]);
        assert!(indexes("-1", &machine).is_empty() && indexes("", &machine).is_empty());
    }

    #[test]
    fn ordinals_count_what_the_control_daemon_was_given() {
        let given = named("GPU-cc,GPU-aa", &all("GPU-aa GPU-bb GPU-cc"));
        assert_eq!(indexes("0", &given), [2]);
        assert_eq!(listed("2:GPU-cc,0:GPU-aa"), given);
    }
}
