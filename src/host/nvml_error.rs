//! What NVML's errors mean: which are facts about a GPU, which only say that a figure is not to be had.

use std::time::Duration;

use nvml_wrapper::error::NvmlError as Failure;

use crate::model::GpuUuid;

/// What went wrong with the library, the driver or a GPU, and the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NvmlError {
    /// The library is not there or is not NVML.
    #[error(
        "cannot load the NVML library {library}: {why}; install the NVIDIA driver, or set nvml_library to the \
         library's path; in a container, start it with the NVIDIA runtime (--gpus)"
    )]
    Library {
        /// The library's name as configured.
        library: String,
        /// The loader's words.
        why: String,
    },
    /// The library is there, the driver does not serve it.
    #[error("NVML ({library}) has no driver to talk to: {why}; see whether `nvidia-smi` works and what `dmesg` says")]
    Driver {
        /// The library's name as configured.
        library: String,
        /// NVML's words.
        why: String,
    },
    /// A call never came back.
    #[error(
        "NVML ({library}) did not answer within {within:?}: the driver hangs; look for Xids in `dmesg` and for \
         processes in state D, and reset the GPU or reboot"
    )]
    Hangs {
        /// The library's name as configured.
        library: String,
        /// How long it was waited for.
        within: Duration,
    },
    /// A GPU is off the bus: a fact about the GPU.
    #[error("NVML says that {gpu} is lost: {why}")]
    Lost {
        /// GPU that was lost.
        gpu: GpuUuid,
        /// NVML's words.
        why: String,
    },
    /// A GPU can't be used before it is reset: the other fact about a GPU. Any other error says nothing about it.
    #[error("NVML says that {gpu} needs a reset: {why}")]
    ResetNeeded {
        /// GPU that needs a reset.
        gpu: GpuUuid,
        /// NVML's words.
        why: String,
    },
    /// NVML does not list the GPU.
    #[error(
        "NVML lists no GPU {gpu}: {why}; see `nvidia-smi -L` for those that are there, and `dmesg` for one that fell off \
         the bus before the driver saw it"
    )]
    NotListed {
        /// GPU that NVML does not list.
        gpu: GpuUuid,
        /// NVML's words.
        why: String,
    },
    /// The library was closed, for a GPU that is lost or to be reset; its users open it again.
    #[error("NVML was closed, for a GPU that is lost or to be reset; it is opened again")]
    LetGo,
    /// One GPU could not be read.
    #[error("NVML cannot {call} of {gpu}: {why}")]
    Gpu {
        /// GPU that was asked.
        gpu: GpuUuid,
        /// What was asked for.
        call: &'static str,
        /// NVML's words.
        why: String,
    },
}

impl NvmlError {
    /// What went wrong, without the cure.
    pub fn in_short(&self) -> String {
        self.to_string().split(';').next().unwrap_or_default().to_owned()
    }
}

/// Why the library can't be opened.
#[expect(clippy::wildcard_enum_match_arm, reason = "nvml-wrapper's errors are foreign and grow")]
pub(super) fn open_error(path: &str, error: Failure) -> NvmlError {
    let (library, why) = (path.to_owned(), error.to_string());
    match error {
        Failure::LibloadingError(cause) => NvmlError::Library { library, why: cause.to_string() },
        Failure::FailedToLoadSymbol(symbol) => NvmlError::Library { library, why: symbol },
        Failure::LibraryNotFound | Failure::FunctionNotFound => NvmlError::Library { library, why },
        _ => NvmlError::Driver { library, why },
    }
}

/// An error of a call, by what it says. Two codes of nvml.h are facts about the GPU, whichever call answers them:
/// 15, it is lost, and 16, it needs a reset. All others, also 8 (its power cables) and 11 (its interrupts), say that it
/// can't be read, and why.
#[expect(clippy::wildcard_enum_match_arm, reason = "nvml-wrapper's errors are foreign and grow")]
pub(super) fn failed(gpu: &GpuUuid, call: &'static str) -> impl Fn(Failure) -> NvmlError {
    move |error| {
        let (gpu, why) = (gpu.clone(), error.to_string());
        match error {
            Failure::GpuLost => NvmlError::Lost { gpu, why },
            Failure::ResetRequired => NvmlError::ResetNeeded { gpu, why },
            _ => NvmlError::Gpu { gpu, call, why },
        }
    }
}

/// An error of the search for a GPU's handle. A GPU that fell off the bus before the driver saw it is not listed.
#[expect(clippy::wildcard_enum_match_arm, reason = "nvml-wrapper's errors are foreign and grow")]
pub(super) fn not_found(gpu: &GpuUuid) -> impl Fn(Failure) -> NvmlError {
    const GPU_NOT_FOUND: u32 = 28;
    move |error| match error {
        Failure::NotFound | Failure::InvalidArg | Failure::UnexpectedVariant(GPU_NOT_FOUND) => {
            NvmlError::NotListed { gpu: gpu.clone(), why: error.to_string() }
        }
        error => failed(gpu, "find the device")(error),
    }
}

/// Whether the GPU or the driver will never have what was asked for, rather than not having it now.
pub(super) fn is_missing(error: &Failure) -> bool {
    matches!(
        error,
        Failure::NotSupported
            | Failure::FunctionNotFound
            | Failure::FailedToLoadSymbol(_)
            | Failure::VgpuEccNotSupported
    )
}

/// Whether it says something about the GPU itself.
pub(super) fn is_of_the_gpu(error: &Failure) -> bool {
    matches!(error, Failure::GpuLost | Failure::ResetRequired)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_library_without_a_driver_is_told_from_a_missing_one() {
        let error = open_error("libnvidia-ml.so.1", Failure::DriverNotLoaded);
        assert!(matches!(error, NvmlError::Driver { .. }), "{error:?}");
    }

    #[test]
    fn two_codes_are_facts_about_the_gpu_and_no_other_is() {
        for code in (1..30).chain([999, 4711]) {
            let error = failed(&"GPU-1".into(), "read it")(Failure::from(code));
            match code {
                15 => assert!(matches!(error, NvmlError::Lost { .. }), "{error:?}"),
                16 => assert!(matches!(error, NvmlError::ResetNeeded { .. }), "{error:?}"),
                _ => assert!(matches!(error, NvmlError::Gpu { .. }), "{code}: {error:?}"),
            }
        }
    }

    #[test]
    fn a_gpu_that_nvml_does_not_list_is_told_from_one_that_it_can_not_open() {
        for code in [2, 6, 28] {
            assert!(matches!(not_found(&"GPU-1".into())(Failure::from(code)), NvmlError::NotListed { .. }), "{code}");
        }
        assert!(matches!(not_found(&"GPU-1".into())(Failure::from(4)), NvmlError::Gpu { .. }));
        assert!(matches!(not_found(&"GPU-1".into())(Failure::from(15)), NvmlError::Lost { .. }));
    }
}
