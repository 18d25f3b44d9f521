//! Data folders: whose they are, who may read them, and what is left of them.

use super::*;

fn persistent(path: &Path) -> DataFolder {
    DataFolder::Persistent(path.to_path_buf())
}

/// The error's text with the folder's own path replaced.
fn refusal(path: &Path) -> String {
    let error = Folder::open(&persistent(path)).map(|_| ()).unwrap_err();
    error.to_string().replace(&path.display().to_string(), "DIR")
}

/// What a folder holds, sorted.
fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn one_owner_at_a_time_and_the_error_says_who() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/for/it");
    let held = Folder::open(&persistent(&path)).unwrap();
    assert_eq!(
        refusal(&path),
        format!(
            "data folder DIR is in use by process {}; stop it, or choose another folder with --data-dir or --ephemeral",
            std::process::id()
        )
    );
    held.close().unwrap();
    Folder::open(&persistent(&path)).unwrap().close().unwrap();
    assert!(path.join(MANIFEST).exists(), "a persistent folder stays");
}

#[test]
fn newer_foreign_and_damaged_folders_are_refused() {
    let cases: [(&str, &str, &str); 3] = [
        (
            MANIFEST,
            r#"{"format": 2, "written_by": "9.0.0", "more": []}"#,
            "data folder DIR has format 2, written by throughline 9.0.0; this build reads up to format 1: use that version, or another folder",
        ),
        (MANIFEST, "{", "cannot read DIR/manifest.json: EOF while parsing an object at line 1 column 1"),
        (
            "thesis.txt",
            "",
            "DIR is not a throughline data folder: it holds \"thesis.txt\" and no manifest.json; choose an empty folder",
        ),
    ];
    for (file, content, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(file), content).unwrap();
        assert_eq!(refusal(dir.path()), expected);
        assert_eq!(fs::read_to_string(dir.path().join(file)).unwrap(), content, "left as it was");
        let foreign = file != MANIFEST;
        assert!(!foreign || names(dir.path()) == [file], "nothing of ours in a folder that is not");
    }
}

#[test]
fn a_manifest_cut_by_a_crash_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(unfinished_manifest()), "{\"for").unwrap();
    Folder::open(&persistent(dir.path())).unwrap().close().unwrap();
    let text = fs::read_to_string(dir.path().join(MANIFEST)).unwrap();
    assert_eq!(text, format!("{{\"format\":1,\"written_by\":{:?}}}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_receiver_keeps_its_number() {
    let dir = tempfile::tempdir().unwrap();
    for (names, numbers) in [
        (&["otlp/b"][..], &[0][..]),
        (&["otlp/a", "otlp/b"], &[1, 0]),
        (&[], &[]),
        (&["otlp/a"], &[1]),
        (&["kafka", "otlp/b", "otlp/c"], &[2, 0, 3]),
    ] {
        let folder = Folder::open(&persistent(dir.path())).unwrap();
        assert_eq!(folder.number_receivers(names.iter().copied()).unwrap(), numbers, "{names:?}");
        folder.close().unwrap();
    }
    let full: Vec<String> = (0..=65_536).map(|number| format!("otlp/{number}")).collect();
    let folder = Folder::open(&persistent(dir.path())).unwrap();
    let error = folder.number_receivers(full.iter().map(String::as_str)).unwrap_err().to_string();
    assert!(error.contains("has seen 65,536 names of receivers"), "{error}");
}

#[test]
fn an_ephemeral_folder_is_removed_closed_or_dropped() {
    for close in [true, false] {
        let folder = Folder::open(&DataFolder::Ephemeral).unwrap();
        let path = folder.path().to_path_buf();
        assert!(folder.is_ephemeral() && path.exists());
        if close {
            folder.close().unwrap();
        } else {
            drop(folder);
        }
        assert!(!path.exists());
    }
}

#[test]
fn nobody_else_reads_what_is_in_a_folder() {
    let base = tempfile::tempdir().unwrap();
    let check = |data: &DataFolder, made_by_us: bool| {
        let folder = Folder::open_under(base.path(), data).unwrap();
        for (path, ours) in
            [(folder.path().to_path_buf(), made_by_us), (folder.journal(), true), (folder.store(), true)]
        {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert!(!ours || mode == PRIVATE, "{}: {mode:o}", path.display());
        }
    };
    check(&DataFolder::Ephemeral, true);
    check(&persistent(&base.path().join("made/for/it")), true);
    let open = base.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
    check(&persistent(&open), false);
}

/// As a process leaves it that is killed.
fn killed(base: &Path) -> PathBuf {
    let mut folder = Folder::open_under(base, &DataFolder::Ephemeral).unwrap();
    folder.temporary.take().unwrap().keep()
}

#[test]
fn what_killed_processes_left_is_removed_and_nothing_else() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path();
    let alive = Folder::open_under(base, &DataFolder::Ephemeral).unwrap();
    let kept = base.join("throughline-mydata");
    Folder::open(&persistent(&kept)).unwrap().close().unwrap();
    let rescued = killed(base);
    Folder::open(&persistent(&rescued)).unwrap().close().unwrap();
    let (named_otherwise, elsewhere) = (base.join("throughline-mine"), base.join("elsewhere"));
    fs::rename(killed(base), &named_otherwise).unwrap();
    fs::rename(killed(base), &elsewhere).unwrap();
    let link = base.join("throughline-link01");
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    let (file, empty) = (base.join("throughline-file01"), base.join("throughline-empty1"));
    fs::write(&file, "").unwrap();
    fs::create_dir(&empty).unwrap();
    // Only root can give folders away.
    let foreign = rustix::process::geteuid().is_root().then(|| killed(base));
    if let Some(foreign) = &foreign {
        std::os::unix::fs::chown(foreign, Some(12345), None).unwrap();
    }
    let left = [killed(base), killed(base)];

    let new = Folder::open_under(base, &DataFolder::Ephemeral).unwrap();
    assert!(left.iter().all(|path| !path.exists()));
    for path in
        [alive.path(), new.path(), &kept, &rescued, &named_otherwise, &elsewhere, &link, &file, &empty]
    {
        assert!(path.exists(), "{} is gone", path.display());
    }
    assert!(foreign.is_none_or(|path| path.exists()), "another user's");
    assert_eq!(names(&elsewhere), ["journal", LOCK, MANIFEST, "store"].map(str::to_owned));
}

#[test]
fn the_default_follows_xdg() {
    let check = |set: &[(&str, &str)]| {
        default_data_folder(|name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v)))
    };
    assert_eq!(check(&[("XDG_DATA_HOME", "/x"), ("HOME", "/h")]), Some(PathBuf::from("/x/throughline")));
    let home = Some(PathBuf::from("/h/.local/share/throughline"));
    assert_eq!(check(&[("HOME", "/h")]), home);
    assert_eq!(check(&[("XDG_DATA_HOME", "relative"), ("HOME", "/h")]), home, "XDG: relative is ignored");
    assert_eq!(check(&[]), None);
}
