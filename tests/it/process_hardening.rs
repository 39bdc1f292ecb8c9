//! Process hardening: no core dump, no access to its environment, no use of proxy variables.

use std::{
    fs,
    io::ErrorKind,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use rustix::process::geteuid;

use crate::support::{answer, client, process::Program, sandbox, variables};

/// A user that owns nothing.
const UNPRIVILEGED_USER: u32 = 65534;

#[tokio::test]
async fn the_process_leaves_no_core_dump_and_hides_its_environment() {
    let sandbox = sandbox().await;
    let place = tempfile::tempdir().unwrap();
    // Root may read everything. So run as another user and check the owner of the files in /proc:
    // it is root if the process is not dumpable (proc(5)).
    let mut program = if geteuid().is_root() {
        let copy = place.path().join("broker");
        fs::copy(env!("CARGO_BIN_EXE_cfapi-broker"), &copy).unwrap();
        for path in [place.path(), &copy] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Program::start_as(UNPRIVILEGED_USER, &copy, &variables(&sandbox))
    } else {
        Program::start(&[], &variables(&sandbox))
    };
    program.base().await;
    let proc = Path::new("/proc").join(program.id().to_string());
    let limits = fs::read_to_string(proc.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let words: Vec<_> = core.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core}");
    for file in ["environ", "mem", "maps"] {
        let path = proc.join(file);
        if geteuid().is_root() {
            assert_eq!(fs::metadata(&path).unwrap().uid(), 0, "{file}");
        } else {
            let error = fs::read(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{file}");
        }
    }
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn variables_that_name_a_proxy_change_nothing() {
    let sandbox = sandbox().await;
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let mut variables = variables(&sandbox);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        variables.insert(name.to_owned(), url.clone());
        variables.insert(name.to_lowercase(), url.clone());
    }
    let mut program = Program::start(&[], &variables);
    let base = program.base().await;
    // This request needs the Destination service, UAA, CF API and the keys of callers.
    let request = client().get(format!("{base}/spaces")).bearer_auth(sandbox.developer_token());
    assert_eq!(answer(request).await.status, 200);
    assert_eq!(proxy.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(program.terminate().await.code, Some(0));
}
