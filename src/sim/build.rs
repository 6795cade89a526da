//! Compiles the stand-ins of NVML and CUPTI, which the simulation embeds.

#[path = "../probe/embed.rs"]
mod embed;

const LIBRARIES: [embed::Embedded; 2] = [
    embed::Embedded { kind: "cdylib", file: "libnvidia-ml.so", root: "nvml/lib.rs", options: &["-Cpanic=abort"] },
    embed::Embedded { kind: "cdylib", file: "libcupti.so", root: "cupti/lib.rs", options: &["-Cpanic=abort"] },
];

fn main() {
    for watched in ["nvml", "cupti", "build.rs", "../probe"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    LIBRARIES.iter().for_each(embed::embed);
}
