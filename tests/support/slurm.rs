//! A Slurm cluster of this one machine: munged, slurmctld and two slurmd, without systemd, cgroups or root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::lab::{Lab, SYSTEM_PATH, private_folder, user, write};
use super::outcome::{Outcome, run};
use super::server::{Server, free_port};
use super::{holds_within, wait_until};

/// See the [module](self). Its processes end with the [`Lab`], in whose folder everything stands.
pub struct Slurm {
    folder: PathBuf,
}

impl Slurm {
    /// Starts a cluster that the sessions of `server` submit to, with `more` lines of slurm.conf(5). Nothing where Slurm
    /// is not installed, after saying so.
    pub fn start(lab: &Lab, server: &Arc<Server>, more: &str) -> Option<Self> {
        if let Some(missing) = ["munged", "slurmctld", "slurmd", "sbatch"]
            .iter()
            .find(|name| !is_there(name))
        {
            eprintln!("skipped: no Slurm ({missing} is missing: run script/bootstrap)");
            return None;
        }
        Self::come_up(lab, server, more, false)
    }

    fn come_up(lab: &Lab, server: &Arc<Server>, more: &str, has_books: bool) -> Option<Self> {
        let slurm = Self {
            folder: lab.root().join("slurm"),
        };
        // A process that is not ours may take a port before a daemon has it, and then that daemon ends.
        let up = (0..5).any(|_| slurm.starts(more, has_books));
        assert!(up, "no cluster comes up:\n{}", slurm.says());
        server.set_rc(&format!("export SLURM_CONF={}\n", slurm.conf().display()));
        Some(slurm)
    }

    /// The same with accounting: a database of its own, which remembers jobs that the controller has forgotten. That is the case
    /// two seconds after their end.
    pub fn start_with_accounting(lab: &Lab, server: &Arc<Server>) -> Option<Self> {
        if let Some(missing) = ["mariadbd", "mariadb-install-db", "slurmdbd"]
            .iter()
            .find(|name| !is_there(name))
        {
            eprintln!(
                "skipped: no accounting for Slurm ({missing} is missing: run script/bootstrap)"
            );
            return None;
        }
        Self::come_up(lab, server, "MinJobAge=2\n", true)
    }

    /// What a command of Slurm's says.
    #[track_caller]
    pub fn asks(&self, program: &str, arguments: &[&str]) -> Outcome {
        run(self.command(program).args(arguments))
    }

    /// The numbers of all jobs that there were, each once.
    #[track_caller]
    pub fn jobs(&self) -> Vec<String> {
        let said = self.asks("squeue", &["-h", "-t", "all", "-o", "%F"]);
        let mut jobs: Vec<_> = said.succeeds().stdout.lines().map(str::to_owned).collect();
        jobs.sort();
        jobs.dedup();
        jobs
    }

    /// Kills a node's slurmd with everything that it runs, and lets the controller notice.
    pub fn kill_node(&self, node: &str) {
        let mut doomed = vec![self.pid(node)];
        while let Some(pid) = doomed.pop() {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            doomed.extend(
                children
                    .unwrap_or_default()
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<i32>().ok()),
            );
            super::lab::kill(pid);
        }
        // The daemon of a step is nobody's child.
        super::lab::reap(&self.folder.join("spool").join(node));
        let down = [
            "update",
            &format!("nodename={node}"),
            "state=down",
            "reason=test",
        ];
        self.asks("scontrol", &down).succeeds();
    }

    /// The controller hangs: connections to it are taken and not answered.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// It goes on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.pid("slurmctld").to_string();
        run(Command::new("kill").args([&format!("-{signal}"), &pid])).succeeds();
    }

    fn pid(&self, name: &str) -> i32 {
        let file = self.folder.join("log").join(format!("{name}.pid"));
        let text = fs::read_to_string(file).expect("it has a pid file");
        text.trim().parse().expect("a number")
    }

    /// Its configuration, which `SLURM_CONF` names.
    pub fn conf(&self) -> PathBuf {
        self.folder.join("slurm.conf")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", SYSTEM_PATH)
            .env("LC_ALL", "C")
            .env("SLURM_CONF", self.conf());
        command
    }

    /// Starts a daemon that stays with us until the lab ends.
    fn daemon(&self, name: &str, program: &str, arguments: &[&str]) {
        use std::os::unix::process::CommandExt;
        let log = fs::File::create(self.folder.join("log").join(format!("{name}.out")));
        let log = log.expect("a file for what it says");
        let mut command = self.command(program);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone().expect("the same file"))
            .stderr(log)
            .process_group(0);
        let child = command.spawn().expect("start a daemon of Slurm's");
        // Reaped by the thread, so that it does not stay in the process table.
        std::thread::spawn(move || {
            let mut child = child;
            let _ = child.wait();
        });
    }

    /// Whether all daemons, started anew, have found each other.
    fn starts(&self, more: &str, has_books: bool) -> bool {
        if self.folder.exists() {
            super::lab::reap(&self.folder);
            fs::remove_dir_all(&self.folder).expect("nobody writes there any more");
        }
        for folder in ["state", "log", "munge", "spool/n1", "spool/n2"] {
            private_folder(&self.folder.join(folder));
        }
        self.start_munge();
        write(&self.folder.join("gres.conf"), "");
        let ports = [free_port(), free_port(), free_port()];
        write(&self.conf(), &(self.configuration(ports) + more));
        if has_books {
            self.start_accounting();
        }
        let conf = self.conf().display().to_string();
        self.daemon("slurmctld", "slurmctld", &["-D", "-f", &conf]);
        for node in ["n1", "n2"] {
            self.daemon(node, "slurmd", &["-D", "-N", node, "-f", &conf]);
        }
        let idle = |node| {
            let asked = ["-h", "-N", "-n", node, "-t", "idle", "-o", "%N"];
            !self.asks("sinfo", &asked).stdout.is_empty()
        };
        holds_within(Duration::from_secs(60), || idle("n1") && idle("n2"))
    }

    /// The daemons' logs, for a person.
    fn says(&self) -> String {
        let log = |name| {
            let text = fs::read_to_string(self.folder.join("log").join(name));
            format!("{name}:\n{}\n", text.unwrap_or_default())
        };
        ["slurmctld.log", "n1.log", "n2.log"].map(log).concat()
    }

    /// Starts MariaDB and slurmdbd(8), without which the controller would not come up, and has its configuration name them.
    fn start_accounting(&self) {
        let (here, port) = (self.folder.display(), free_port());
        let text = fs::read_to_string(self.conf()).expect("it was written");
        // A job that takes more memory than it asked for is killed, which no cgroup does here.
        let gather = "jobacct_gather/linux\nJobAcctGatherFrequency=task=1\nJobAcctGatherParams=OverMemoryKill";
        let storage = format!(
            "accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\nAccountingStoragePort={port}\n\
             AccountingStoragePass={here}/munge/socket"
        );
        let text = text
            .replace("jobacct_gather/none", gather)
            .replace("accounting_storage/none", &storage)
            .replace("CR_Core\n", "CR_Core_Memory\n");
        write(&self.conf(), &text);
        let database = self.folder.join("database");
        private_folder(&database);
        let user = user();
        let owner = format!("--user={user}");
        let data = format!("--datadir={}", database.join("data").display());
        let common = ["--no-defaults", &owner, &data];
        let made = [
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        ];
        let install = [&common[..], &made].concat();
        run(self.command("mariadb-install-db").args(install)).succeeds();
        let storage = free_port();
        let serve = [
            format!("--socket={}", database.join("socket").display()),
            format!("--pid-file={}", database.join("pid").display()),
            format!("--port={storage}"),
            "--bind-address=127.0.0.1".to_string(),
            "--skip-name-resolve".to_string(),
            "--innodb-buffer-pool-size=16M".to_string(),
            "--innodb-flush-log-at-trx-commit=0".to_string(),
        ];
        let serve: Vec<&str> = common
            .into_iter()
            .chain(serve.iter().map(String::as_str))
            .collect();
        self.daemon("mariadbd", "mariadbd", &serve);
        let conf = self.folder.join("slurmdbd.conf");
        write(
            &conf,
            &format!(
                "AuthType=auth/munge\nAuthInfo=socket={here}/munge/socket\nDbdHost=localhost\nDbdPort={port}\n\
                 SlurmUser={user}\nStorageType=accounting_storage/mysql\nStorageHost=127.0.0.1\n\
                 StoragePort={storage}\nStorageUser=root\nStorageLoc=lab\nLogFile={here}/log/slurmdbd.log\n\
                 PidFile={here}/log/slurmdbd.pid\n"
            ),
        );
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&conf, private).expect("it is ours");
        wait_until(30, "the database", || database.join("socket").exists());
        self.daemon("slurmdbd", "slurmdbd", &["-D"]);
        wait_until(60, "the accounting", || {
            let added = self.asks("sacctmgr", &["-i", "add", "cluster", "lab"]);
            added.code == Some(0) || added.stdout.contains("already exists")
        });
    }

    fn start_munge(&self) {
        let munge = self.folder.join("munge");
        let key: String = std::iter::repeat_with(|| format!("{:016x}", super::server::entropy()))
            .take(64)
            .collect();
        write(&munge.join("key"), &key);
        let chmod = Command::new("chmod")
            .arg("600")
            .arg(munge.join("key"))
            .status();
        assert!(chmod.is_ok_and(|status| status.success()));
        let at = |name: &str| munge.join(name).display().to_string();
        let options = [
            "-F".to_string(),
            "--force".to_string(),
            format!("--socket={}", at("socket")),
            format!("--key-file={}", at("key")),
            format!("--pid-file={}", at("pid")),
            format!("--log-file={}", at("log")),
            format!("--seed-file={}", at("seed")),
            "--num-threads=2".to_string(),
        ];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        self.daemon("munged", "munged", &options);
        wait_until(10, "munged", || munge.join("socket").exists());
    }

    fn configuration(&self, ports: [u16; 3]) -> String {
        let here = self.folder.display();
        let name = run(Command::new("uname").arg("-n")).stdout;
        let host = name
            .trim()
            .split('.')
            .next()
            .unwrap_or("localhost")
            .to_owned();
        let user = user();
        let [controller, first, second] = ports;
        format!(
            "ClusterName=lab\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={controller}\n\
             SlurmUser={user}\nSlurmdUser={user}\nAuthType=auth/munge\nAuthInfo=socket={here}/munge/socket\n\
             CredType=cred/munge\nStateSaveLocation={here}/state\nSlurmdSpoolDir={here}/spool/%n\n\
             SlurmctldPidFile={here}/log/slurmctld.pid\nSlurmdPidFile={here}/log/%n.pid\n\
             SlurmctldLogFile={here}/log/slurmctld.log\nSlurmdLogFile={here}/log/%n.log\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nSwitchType=switch/none\nMpiDefault=none\n\
             JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\n\
             JobCompType=jobcomp/none\nReturnToService=2\nSlurmdParameters=config_overrides\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\n\
             SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=10000\n\
             MinJobAge=600\nKillWait=3\nInactiveLimit=0\nMessageTimeout=5\n\
             NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2 RealMemory=2000 State=UNKNOWN\n\
             NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2 RealMemory=2000 State=UNKNOWN\n\
             PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
        )
    }
}

fn is_there(program: &str) -> bool {
    SYSTEM_PATH
        .split(':')
        .any(|folder| Path::new(folder).join(program).exists())
}
