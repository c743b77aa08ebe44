//! A real redis-server for one test: on a Unix socket in a folder of its own, so that no port can
//! be taken, and gone with the test.

// Each test takes what it needs.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use redis::{Connection, FromRedisValue};

pub struct Server {
    process: Child,
    folder: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Server {
        Server::with(&[])
    }

    /// With further options of redis-server.
    pub fn with(options: &[&str]) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let mut process = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
                "--unixsocket",
                "redis.sock",
            ])
            .args(options)
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server starts; `npm test` installs it");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        let mut lines = output.lines().map_while(Result::ok);
        assert!(
            lines.any(|line| line.to_lowercase().contains("ready to accept connections")),
            "redis-server ended before it was ready"
        );
        // Read on, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Server { process, folder }
    }

    pub fn url(&self) -> String {
        format!("unix:{}", self.folder.path().join("redis.sock").display())
    }

    pub fn connect(&self) -> Connection {
        let client = redis::Client::open(self.url()).expect("a URL");
        client.get_connection().expect("a connection")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One command, its words split at spaces.
pub fn run<T: FromRedisValue>(redis: &mut Connection, command: &str) -> T {
    let mut words = command.split(' ');
    let mut call = redis::cmd(words.next().expect("a command"));
    words.for_each(|word| {
        call.arg(word);
    });
    call.query(redis).expect(command)
}

/// The whole contents of Redis: a line for each key, in order, hashes by field, sorted sets by score;
/// what Redis removes by itself some day is marked so.
pub fn contents(redis: &mut Connection) -> Vec<String> {
    let mut keys: Vec<String> = redis::cmd("KEYS").arg("*").query(redis).expect("keys");
    keys.sort();
    keys.iter()
        .map(|key| {
            let kind: String = redis::cmd("TYPE").arg(key).query(redis).expect("a type");
            let value = match kind.as_str() {
                "list" => run::<Vec<String>>(redis, &format!("LRANGE {key} 0 -1")).join(" "),
                "hash" => {
                    let fields: BTreeMap<String, String> = run(redis, &format!("HGETALL {key}"));
                    let fields = fields.iter().map(|(name, value)| format!("{name}={value}"));
                    fields.collect::<Vec<_>>().join(" ")
                }
                "zset" => {
                    let members: Vec<(String, String)> =
                        run(redis, &format!("ZRANGE {key} 0 -1 WITHSCORES"));
                    let members = members
                        .iter()
                        .map(|(name, score)| format!("{name}@{score}"));
                    members.collect::<Vec<_>>().join(" ")
                }
                _ => run(redis, &format!("GET {key}")),
            };
            let ends = run::<i64>(redis, &format!("PTTL {key}")) >= 0;
            format!(
                "{key} {kind}{}: {value}",
                if ends { ", expires" } else { "" }
            )
        })
        .collect()
}
