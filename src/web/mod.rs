//! A web server: connections and their bounds, TLS, client certificates, passwords and headers, from a file in the
//! format of Prometheus' exporter-toolkit. What is answered is its [`Site`]'s.

mod answer;
mod client_certificate;
mod connection;
mod file;
mod gate;
mod gzip;
mod listeners;
mod pace;
mod passwords;
mod policy;
mod port_holder;
mod problem;
mod server;
mod stamp;
mod tls;

pub use answer::{Answer, HTML, JSON, METRICS, Page, json};
pub use connection::Site;
pub use gate::Gate;
pub use gzip::{Kept, is_accepted, squeezed};
pub use listeners::{Listeners, Waiting, bind_all};
pub use passwords::Admission;
pub use policy::Policy;
pub use problem::Problem;
pub use server::{MAX_CONNECTIONS, Server, Service, serve};
