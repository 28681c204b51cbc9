//! A real nginx on loopback that hosts a directory.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::mosquitto::{free_port, write};

/// Hosts a directory; gone when it is dropped.
pub(crate) struct Nginx {
    child: Child,
    port: u16,
    place: tempfile::TempDir,
}

impl Nginx {
    /// Starts it; `more` goes into its `location`.
    pub(crate) fn host(directory: &Path, more: &str) -> Self {
        let place = tempfile::tempdir().expect("tempdir");
        let port = free_port();
        let (log, root) = (place.path().display(), directory.display());
        let config = format!(
            "daemon off; master_process off; pid {log}/pid; error_log {log}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n  access_log {log}/access.log;\n  client_body_temp_path {log}/b;\n  \
             proxy_temp_path {log}/p;\n  fastcgi_temp_path {log}/f;\n  uwsgi_temp_path {log}/u;\n  \
             scgi_temp_path {log}/s;\n  server {{\n    listen 127.0.0.1:{port};\n    \
             location / {{ root {root}; {more} }}\n  }}\n}}\n"
        );
        let file = place.path().join("nginx.conf");
        write(&file, &config);
        let program = ["/usr/sbin/nginx", "/usr/bin/nginx"].map(PathBuf::from);
        let program = program.into_iter().find(|path| path.exists()).expect("nginx is installed");
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).arg("-p").arg(place.path()).stderr(Stdio::null());
        let child = command.spawn().expect("nginx starts");
        let nginx = Self { child, port, place };
        let opens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        let listens = (0..200).any(|_| {
            #[expect(clippy::disallowed_methods, reason = "another process is waited for")]
            std::thread::sleep(Duration::from_millis(25));
            opens()
        });
        assert!(listens, "nginx does not listen");
        nginx
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it was asked, a request a line.
    pub(crate) fn asked(&self) -> String {
        std::fs::read_to_string(self.place.path().join("access.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}
