//! A git host by https, with a password.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use super::lab::{Lab, private_folder, write};
use super::outcome::run;

const HOST: &str = include_str!("git_host.py");

/// A git host with the bare repository `proj.git`; see `git_host.py`.
pub struct GitHost {
    folder: PathBuf,
    port: u16,
    child: Child,
}

impl GitHost {
    /// Starts the host `name`, whose certificate the client and the server `box` believe. With `redirect`, it only sends
    /// on to that address.
    #[track_caller]
    pub fn start(lab: &Lab, name: &str, redirect: Option<&str>) -> Self {
        let folder = lab.root().join(name);
        private_folder(&folder);
        write(&folder.join("git_host.py"), HOST);
        let certificate = lab.root().join("tls.pem");
        if !certificate.exists() {
            make_certificate(lab, &certificate);
        }
        let repository = folder.join("proj.git");
        lab.run(
            "sh",
            &[
                "-c",
                &format!("cd / && git init -q --bare -b main {0} && git -C {0} config http.receivepack true", repository.display()),
            ],
        )
        .succeeds();
        let mut command = lab.command("python3");
        command
            .arg(folder.join("git_host.py"))
            .arg(&folder)
            .arg(&certificate)
            .arg(folder.join("log"))
            .args(redirect)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(folder.join("errors")).expect("make a file"));
        let mut child = command.spawn().expect("start the git host");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("the git host's port");
        let port = line.trim().parse().expect("a port");
        GitHost {
            folder,
            port,
            child,
        }
    }

    /// The address of the host, `user` in front where one is given.
    pub fn url(&self, user: &str) -> String {
        format!("https://{user}localhost:{}", self.port)
    }

    /// Where its repositories are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// From now on it lets in only who brings these.
    pub fn set_password(&self, user: &str, password: &str) {
        write(&self.folder.join("password"), &format!("{user}:{password}"));
    }

    /// The users whose credentials it was shown, one a request; `-` for none.
    pub fn users(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.rsplit(' ').next())
            .map(str::to_string)
            .collect()
    }
}

impl Drop for GitHost {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate for `localhost`, with its key, in one file; the client and `box` believe it.
fn make_certificate(lab: &Lab, path: &Path) {
    let text = path.to_string_lossy();
    run(lab
        .command("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout",
            &text,
            "-out",
        ])
        .arg(format!("{text}.crt")))
    .succeeds();
    let both = format!(
        "{}{}",
        fs::read_to_string(path).expect("the key"),
        fs::read_to_string(format!("{text}.crt")).expect("the certificate")
    );
    write(path, &both);
    for home in [lab.home(), lab.server("box").home()] {
        let file = home.join(".gitconfig");
        let before = fs::read_to_string(&file).unwrap_or_default();
        write(
            &file,
            &format!("{before}[http]\n\tsslCAInfo = {text}.crt\n"),
        );
    }
}
