//! The simulated disk keeps what was synced and nothing else for certain.

use super::*;
use crate::fs::{read_full, write_all};

fn file(fs: &SimFs, name: &str, bytes: &[u8]) -> Box<dyn File> {
    let file = fs.create(Path::new(name)).unwrap();
    write_all(file.as_ref(), &mut [IoSlice::new(bytes)], 0).unwrap();
    file
}

#[test]
fn synced_bytes_survive_every_power_loss_and_others_survive_some() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let fs = SimFs::new(seed);
        let handle = file(&fs, "/d/a", &[1; 1024]);
        handle.sync_data().unwrap();
        fs.sync_dir(Path::new("/d")).unwrap();
        write_all(handle.as_ref(), &mut [IoSlice::new(&[2; 1024])], 1024).unwrap();
        fs.cut_power();
        assert!(handle.sync_data().is_err());
        let bytes = fs.restart(Tear::Sectors).bytes(Path::new("/d/a")).unwrap();
        assert_eq!(&bytes[..1024], &[1; 1024]);
        outcomes.insert(bytes[1024..].to_vec());
    }
    assert!(outcomes.len() >= 4, "both sectors, either one, and none: {}", outcomes.len());
}

#[test]
fn a_name_survives_for_certain_only_if_its_folder_was_synced() {
    let found = |seed| {
        let fs = SimFs::new(seed);
        file(&fs, "/d/a", b"x").sync_data().unwrap();
        fs.restart(Tear::Sectors).files().len()
    };
    let total: usize = (0..100).map(found).sum();
    assert!((1..100).contains(&total), "{total} of 100");
}

#[test]
fn after_a_failed_sync_the_next_one_saves_nothing_of_what_the_first_should_have() {
    let lost = |seed| {
        let fs = SimFs::new(seed);
        let handle = file(&fs, "/d/a", &[7; 4096]);
        fs.sync_dir(Path::new("/d")).unwrap();
        fs.fail_syncs(1);
        assert!(handle.sync_data().is_err());
        handle.sync_data().unwrap();
        fs.restart(Tear::Sectors).bytes(Path::new("/d/a")).unwrap() != [7; 4096]
    };
    assert!((0..50).any(lost));
}

#[test]
fn space_runs_out_and_sectors_go_bad() {
    let fs = SimFs::new(1);
    fs.set_capacity(Some(8192));
    let handle = file(&fs, "/d/a", &[7; 4096]);
    assert_eq!(handle.allocate(8193).unwrap_err().kind(), io::ErrorKind::StorageFull);
    handle.allocate(8192).unwrap();
    fs.make_unreadable(Path::new("/d/a"), 4096..4097);
    assert_eq!(read_full(handle.as_ref(), &mut [0; 4096], 0).unwrap(), 4096);
    assert!(read_full(handle.as_ref(), &mut [0; 4096], 4096).is_err());
}
