//! The store on a real folder.

use std::collections::BTreeMap;
use std::{fs, panic};

use proptest::prelude::*;
use tempfile::TempDir;

use super::record::{ChunkRecord, FamilyRecord};
use super::*;

/// A store in a folder of its own.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn open(&self) -> Result<Store, OpenError> {
        Store::open(&Options { path: self.path().to_owned(), cache_bytes: 8 << 20 })
    }

    /// Closes the store. sled lets go of its lock some time later, on a thread of its own.
    fn close(&self, store: Store) {
        drop(store);
        File::open(self.path().join("db")).unwrap().lock().unwrap();
    }

    fn reopen(&self, store: Store) -> Store {
        self.close(store);
        self.open().unwrap()
    }

    fn sled(&self) -> sled::Db {
        sled::Config::new().path(self.path()).flush_every_ms(None).open().unwrap()
    }

    /// Changes what a closed store has, past the store.
    fn tamper(&self, tamper: impl FnOnce(&sled::Tree)) {
        let db = self.sled();
        tamper(&db.open_tree("groups").unwrap());
        db.flush().unwrap();
        drop(db);
        File::open(self.path().join("db")).unwrap().lock().unwrap();
    }

    /// Every file with its bytes.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn walk(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, files);
                } else {
                    files.insert(path.clone(), fs::read(path).unwrap());
                }
            }
        }
        let mut files = BTreeMap::new();
        walk(self.path(), &mut files);
        files
    }
}

fn key(group: u64, chunk: u32) -> ChunkKey {
    ChunkKey { group, chunk }
}

/// A frame that holds `bytes` bytes, all of them `fill`.
fn frame(key: ChunkKey, bytes: usize, fill: u8) -> Frame {
    let metrics = vec![fill; bytes].into();
    let family = FamilyRecord { metrics, ..FamilyRecord::default() };
    Frame::new(key, &ChunkRecord { families: vec![family] })
}

fn put(store: &Store, chunks: &[(ChunkKey, &Frame)]) {
    let mut batch = Batch::default();
    for (key, frame) in chunks {
        batch.put(*key, (*frame).clone(), None);
    }
    store.apply(&batch).unwrap();
}

fn load(store: &Store) -> Result<Vec<(ChunkKey, Frame)>, OpenError> {
    store.load().unwrap().map(|loaded| loaded.map(|loaded| (loaded.key, loaded.frame))).collect()
}

#[test]
fn a_staged_batch_is_read_before_what_is_stored() {
    let folder = Folder::new();
    let store = folder.open().unwrap();
    let (one, two) = (frame(key(1, 0), 10, 1), frame(key(1, 0), 9000, 2));
    put(&store, &[(key(1, 0), &one)]);
    let mut batch = Batch::default();
    assert!(batch.is_empty());
    let read = |batch: &Batch| store.read(batch, key(1, 0)).unwrap();
    assert_eq!(read(&batch), Some(one.clone()));
    batch.put(key(1, 0), two.clone(), Some(one.to_ref(0)));
    assert_eq!(read(&batch), Some(two.clone()));
    batch.remove(key(1, 0), two.to_ref(0));
    assert_eq!(read(&batch), None);
    batch.put(key(1, 0), two.clone(), None);
    assert_eq!(read(&batch), Some(two.clone()));
    assert_eq!(read(&Batch::default()), Some(one), "nothing is applied yet");
    assert!(!batch.is_empty());
    store.apply(&batch).unwrap();
    assert_eq!(read(&Batch::default()), Some(two));
    assert_eq!(store.read(&batch, key(2, 0)).unwrap(), None);
}

#[test]
fn what_is_written_and_removed_in_one_batch_leaves_nothing() {
    let folder = Folder::new();
    let store = folder.open().unwrap();
    let (small, large) = (frame(key(1, 0), 10, 1), frame(key(1, 0), 9000, 2));
    put(&store, &[(key(1, 0), &large)]);
    let mut batch = Batch::default();
    batch.put(key(1, 0), small.clone(), Some(large.to_ref(0)));
    batch.remove(key(1, 0), small.to_ref(0));
    store.apply(&batch).unwrap();
    assert_eq!(store.opened().unwrap().groups.len(), 0);
}

#[test]
fn a_deletion_of_everything_that_was_not_synced_may_be_lost_but_not_half() {
    let folder = Folder::new();
    let store = folder.open().unwrap();
    let chunk = frame(key(1, 0), 10, 1);
    put(&store, &[(key(1, 0), &chunk)]);
    let mut batch = Batch::default();
    batch.wipe();
    let new = frame(key(2, 0), 10, 2);
    batch.put(key(2, 0), new.clone(), None);
    store.apply(&batch).unwrap();
    assert_eq!(load(&store).unwrap(), [(key(2, 0), new.clone())]);
    store.sync().unwrap();
    // Not reclaimed: what is left of the old tree goes when the store is opened.
    let store = folder.reopen(store);
    assert_eq!(load(&store).unwrap(), [(key(2, 0), new)]);
    let trees = store.opened().unwrap().db.tree_names();
    let trees = trees.iter().filter(|name| name.starts_with(b"groups"));
    assert_eq!(trees.count(), 1);
}

#[test]
fn chunks_are_loaded_by_group_and_then_by_number() {
    let folder = Folder::new();
    let store = folder.open().unwrap();
    let keys = [key(256, 0), key(1, 256), key(2, 0), key(1, 0), key(1, 255), key(u64::MAX, 7)];
    let frames = keys.map(|key| frame(key, 5000, 1));
    put(&store, &keys.into_iter().zip(&frames).collect::<Vec<_>>());
    let loaded: Vec<_> = load(&store).unwrap().into_iter().map(|loaded| loaded.0).collect();
    let mut sorted = keys;
    sorted.sort();
    assert_eq!(loaded, sorted);
}

#[test]
fn what_was_synced_is_there_after_a_reopen() {
    let folder = Folder::new();
    let store = folder.open().unwrap();
    let (one, two) = (frame(key(1, 0), 10, 1), frame(key(1, 1), 50_000, 2));
    put(&store, &[(key(1, 0), &one), (key(1, 1), &two)]);
    store.sync().unwrap();
    let store = folder.reopen(store);
    assert_eq!(load(&store).unwrap(), [(key(1, 0), one), (key(1, 1), two)]);
    assert!(store.disk_bytes() > 0);
}

#[test]
fn the_offset_of_the_clock_is_kept() {
    let folder = Folder::new();
    let mut store = folder.open().unwrap();
    assert_eq!(store.clock_offset_ms().unwrap(), None);
    for offset in [-3_600_000, 0, i64::MAX] {
        store.keep_clock_offset_ms(offset).unwrap();
        store.sync().unwrap();
        store = folder.reopen(store);
        assert_eq!(store.clock_offset_ms().unwrap(), Some(offset));
    }
    store.opened().unwrap().meta.insert(CLOCK_OFFSET_KEY, b"short").unwrap();
    assert!(matches!(store.clock_offset_ms(), Err(OpenError::Damaged { .. })));
}

#[test]
fn a_folder_that_is_in_use_is_left_alone() {
    let folder = Folder::new();
    let store = folder.open().unwrap();
    put(&store, &[(key(1, 0), &frame(key(1, 0), 10, 1))]);
    store.sync().unwrap();
    let before = folder.files();
    assert!(matches!(folder.open(), Err(OpenError::InUse { .. })));
    assert!(folder.files() == before, "the files have changed");
    assert_eq!(load(&store).unwrap().len(), 1);
}

#[test]
fn a_store_of_a_newer_version_is_refused_by_name_and_left_alone() {
    let folder = Folder::new();
    folder.close(folder.open().unwrap());
    fs::write(folder.path().join("schema_version"), "7\n").unwrap();
    let before = folder.files();
    let error = folder.open().unwrap_err();
    assert!(matches!(error, OpenError::Newer { stored: 7, known: SCHEMA_VERSION, .. }), "{error}");
    assert!(folder.files() == before, "the files have changed");
}

#[test]
fn the_version_inside_the_database_counts_too() {
    let folder = Folder::new();
    folder.close(folder.open().unwrap());
    let version = |bytes: &[u8]| {
        let db = folder.sled();
        db.open_tree("meta").unwrap().insert("schema_version", bytes).unwrap();
        db.flush().unwrap();
        drop(db);
        File::open(folder.path().join("db")).unwrap().lock().unwrap();
        let opened = folder.open();
        File::open(folder.path().join("db")).unwrap().lock().unwrap();
        opened.unwrap_err()
    };
    assert!(matches!(version(&8_u32.to_le_bytes()), OpenError::Newer { stored: 8, .. }));
    assert!(matches!(version(b"no number"), OpenError::Damaged { .. }));
}

#[test]
fn a_folder_whose_database_is_gone_is_damaged_rather_than_empty() {
    let folder = Folder::new();
    folder.close(folder.open().unwrap());
    fs::remove_file(folder.path().join("db")).unwrap();
    let before = folder.files();
    assert!(matches!(folder.open(), Err(OpenError::Damaged { .. })));
    assert!(folder.files() == before, "the files have changed");
}

#[test]
fn a_version_that_is_no_number_is_damage() {
    let folder = Folder::new();
    folder.close(folder.open().unwrap());
    fs::write(folder.path().join("schema_version"), "one").unwrap();
    assert!(matches!(folder.open(), Err(OpenError::Damaged { .. })));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = Folder::new();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error =
        Store::open(&Options { path: file.join("store"), cache_bytes: 8 << 20 }).unwrap_err();
    assert!(matches!(&error, OpenError::Folder { path, .. } if path.starts_with(&file)), "{error}");
}

#[test]
fn a_chunk_that_is_not_as_it_was_written_is_an_error() {
    type Tamper = fn(&sled::Tree);
    const PIECE: fn(usize) -> [u8; 16] = |piece| ChunkKey { group: 1, chunk: 0 }.piece(piece);
    let garbage: Tamper = |groups| drop(groups.insert(PIECE(0), b"garbage").unwrap());
    let empty: Tamper = |groups| drop(groups.insert(PIECE(0), b"").unwrap());
    let flipped: Tamper = |groups| {
        let mut piece = groups.get(PIECE(1)).unwrap().unwrap().to_vec();
        piece[100] ^= 1;
        groups.insert(PIECE(1), piece).unwrap();
    };
    let swapped: Tamper = |groups| {
        let [one, two] = [1, 2].map(|piece| groups.get(PIECE(piece)).unwrap().unwrap());
        groups.insert(PIECE(1), two).unwrap();
        groups.insert(PIECE(2), one).unwrap();
    };
    let no_middle: Tamper = |groups| drop(groups.remove(PIECE(1)).unwrap());
    let no_end: Tamper = |groups| drop(groups.remove(PIECE(3)).unwrap());
    let more: Tamper = |groups| drop(groups.insert(PIECE(3), vec![0; 4096]).unwrap());
    for (what, tamper) in [
        ("garbage", garbage),
        ("an empty piece", empty),
        ("a flipped bit", flipped),
        ("pieces in another order", swapped),
        ("no middle", no_middle),
        ("no end", no_end),
        ("a longer end", more),
    ] {
        let folder = Folder::new();
        let store = folder.open().unwrap();
        // No two pieces are alike.
        let family =
            |fill| FamilyRecord { metrics: vec![fill; 3000].into(), ..FamilyRecord::default() };
        let chunk = ChunkRecord { families: (0..5).map(family).collect() };
        put(&store, &[(key(1, 0), &Frame::new(key(1, 0), &chunk))]);
        assert_eq!(store.opened().unwrap().groups.len(), 4);
        folder.close(store);
        folder.tamper(tamper);
        let store = folder.open().unwrap();
        let loaded = load(&store);
        assert!(matches!(loaded, Err(OpenError::Damaged { .. })), "{what}: {loaded:?}");
        let read = store.read(&Batch::default(), key(1, 0));
        assert!(matches!(read, Err(ReadError::Damaged { .. })), "{what}: {read:?}");
    }
}

#[test]
fn a_key_that_is_none_of_ours_is_damage() {
    let folder = Folder::new();
    folder.close(folder.open().unwrap());
    folder.tamper(|groups| drop(groups.insert("key", "value").unwrap()));
    assert!(matches!(load(&folder.open().unwrap()), Err(OpenError::Damaged { .. })));
}

/// A flip may cost what sled then takes for the torn end of its log, but nothing comes back other
/// than it was written, and what cannot be read is an error rather than a panic.
#[test]
fn a_bit_that_flips_on_the_disk_never_yields_a_wrong_chunk() {
    let folder = Folder::new();
    let store = folder.open().unwrap();
    for group in 0..60_u8 {
        put(&store, &[(key(group.into(), 0), &frame(key(group.into(), 0), 12_000, group))]);
        store.sync().unwrap();
    }
    let written = load(&store).unwrap();
    folder.close(store);
    let db = folder.files()[&folder.path().join("db")].clone();
    let used = db.iter().rposition(|byte| *byte != 0).unwrap();
    let mut found = 0;
    let mut panics = Vec::new();
    for at in (0..used).step_by(used / 40) {
        let copy = Folder::new();
        for file in ["conf", "schema_version"] {
            fs::copy(folder.path().join(file), copy.path().join(file)).unwrap();
        }
        let mut flipped = db.clone();
        flipped[at] ^= 0x10;
        fs::write(copy.path().join("db"), flipped).unwrap();
        match panic::catch_unwind(|| load(&copy.open()?)) {
            Ok(Ok(loaded)) => {
                assert!(loaded.iter().all(|chunk| written.contains(chunk)), "byte {at}");
            }
            Ok(Err(_)) => found += 1,
            Err(_) => panics.push(at),
        }
    }
    assert!(panics.is_empty(), "{found} errors, and panics at the bytes {panics:?}");
    assert!(found > 0, "no flip was found");
}

#[derive(Clone, Debug)]
enum Op {
    Put(u64, u32, usize, u8),
    Remove(u64, u32),
    Wipe,
    Apply,
    Reopen,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let sizes = prop_oneof![0..100_usize, 4060..4110_usize, 0..20_000_usize];
    let op = prop_oneof![
        8 => (1..4_u64, 0..3_u32, sizes, any::<u8>())
            .prop_map(|(group, chunk, bytes, fill)| Op::Put(group, chunk, bytes, fill)),
        3 => (1..4_u64, 0..3_u32).prop_map(|(group, chunk)| Op::Remove(group, chunk)),
        1 => Just(Op::Wipe),
        5 => Just(Op::Apply),
        1 => Just(Op::Reopen),
    ];
    prop::collection::vec(op, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_store_holds_what_a_map_holds_and_no_stale_pieces(ops in ops()) {
        let folder = Folder::new();
        let mut store = folder.open().unwrap();
        let mut batch = Batch::default();
        // As it will be once the batch is applied.
        let mut map: BTreeMap<ChunkKey, Frame> = BTreeMap::new();
        for op in ops.into_iter().chain([Op::Apply]) {
            match op {
                Op::Put(group, chunk, bytes, fill) => {
                    let key = key(group, chunk);
                    let new = frame(key, bytes, fill);
                    let before = map.insert(key, new.clone());
                    batch.put(key, new, before.map(|before| before.to_ref(chunk)));
                }
                Op::Remove(group, chunk) => {
                    if let Some(before) = map.remove(&key(group, chunk)) {
                        batch.remove(key(group, chunk), before.to_ref(chunk));
                    }
                }
                Op::Wipe => {
                    map.clear();
                    batch.wipe();
                }
                Op::Apply | Op::Reopen => {
                    store.apply(&batch).unwrap();
                    batch = Batch::default();
                    store.sync().unwrap();
                    if !matches!(op, Op::Reopen) {
                        store.reclaim().unwrap();
                    }
                    if matches!(op, Op::Reopen) {
                        store = folder.reopen(store);
                    }
                    let pieces: usize = map.values().map(|frame| frame.to_ref(0).pieces()).sum();
                    prop_assert_eq!(store.opened().unwrap().groups.len(), pieces);
                    prop_assert_eq!(load(&store).unwrap(), map.clone().into_iter().collect::<Vec<_>>());
                }
            }
            for group in 1..4 {
                for chunk in 0..3 {
                    let read = store.read(&batch, key(group, chunk)).unwrap();
                    prop_assert_eq!(read.as_ref(), map.get(&key(group, chunk)));
                }
            }
        }
    }
}

#[test]
fn the_folder_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let open_to = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let open = |path: &Path| {
        let options = Options { path: path.to_owned(), cache_bytes: 8 << 20 };
        Store::open(&options).unwrap().close().unwrap();
    };
    let new = folder.path().join("above/new");
    open(&new);
    assert_eq!(mode(&new), 0o700);
    // One that an earlier version has left open, or that was made for it.
    open_to(&new, 0o755);
    open(&new);
    assert_eq!(mode(&new), 0o700);
    // One that was opened to a group on purpose, and one that is not the store's alone.
    open_to(&new, 0o750);
    open(&new);
    assert_eq!(mode(&new), 0o750);
    let shared = folder.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("letters"), "").unwrap();
    open_to(&shared, 0o755);
    open(&shared);
    assert_eq!(mode(&shared), 0o755);
}
