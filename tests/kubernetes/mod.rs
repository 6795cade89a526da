//! The Helm chart and the kustomize bases, by Helm, kubectl and the schemas of Kubernetes' API: what they promise, and that
//! no value is without effect.

mod chart;
mod monitoring;
mod promises;
mod tools;
