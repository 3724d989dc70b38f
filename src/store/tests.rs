//! The store on a real folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, panic};

use proptest::prelude::*;
use tempfile::TempDir;

use super::chunk::ChunkKey;
use super::map::MapGroups;
use super::sled::{SledStore, piece, scanned};
use super::*;
use crate::model::{GroupState, GroupingKey, Label, MetricType, RemovalReason};
use crate::time::{Moment, UnixMillis, UnixNanos};

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
    fn close(&self, store: impl Send) {
        drop(store);
        File::open(self.path().join("db")).unwrap().lock().unwrap();
    }

    fn reopen(&self, store: Arc<Store>) -> Arc<Store> {
        self.close(store);
        Arc::new(self.open().unwrap())
    }

    fn sled(&self) -> ::sled::Db {
        ::sled::Config::new().path(self.path()).flush_every_ms(None).open().unwrap()
    }

    /// Changes what a closed store has, past the store.
    fn tamper(&self, tamper: impl FnOnce(&::sled::Tree)) {
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

fn key(group: u64) -> GroupingKey {
    GroupingKey::new(vec![Label::new("job", group.to_string())]).unwrap()
}

/// The engine of a store that lies in a folder.
fn sled(store: &Store) -> &SledStore {
    match store {
        Store::Sled(store) => store,
        Store::Etcd(_) => panic!("it lies in a folder"),
    }
}

fn at(wall_ns: i64) -> Commit {
    let at = Moment { now: UnixMillis(0), wall: UnixNanos(wall_ns) };
    Commit { at, ..Commit::default() }
}

fn state(pushes: u64) -> GroupState {
    GroupState { pushes, ..GroupState::new(UnixNanos(1), UnixMillis(2)) }
}

/// A family of `bytes` bytes, all of them `fill`.
fn family(name: &str, bytes: usize, fill: u8) -> EncodedFamily {
    let kind = MetricType::Gauge;
    let header = FamilyHeader { name: name.into(), kind, series: 1, ..FamilyHeader::default() };
    EncodedFamily::new(header, vec![fill; bytes].into())
}

fn removal(sequence: u64) -> Removal {
    Removal {
        sequence,
        at: UnixNanos(-7),
        reason: RemovalReason::Deleted,
        deadline: UnixMillis(9),
        rule: Some((2, "{job=\"x\"}".into())),
        series: 3,
        families: 4,
    }
}

fn writer(store: &Arc<Store>) -> Writer {
    Writer::load(store, |_| Ok::<_, OpenError>(())).unwrap()
}

/// Stores a group with one family.
fn put(store: &Arc<Store>, group: u64, bytes: usize, fill: u8) {
    let mut writer = writer(store);
    let family = family("f", bytes, fill);
    let families = FamiliesChange::Replace(vec![&family]);
    writer.put(group, &key(group), &state(1), families).unwrap();
    writer.commit(&at(5)).unwrap();
}

fn load(store: &Store) -> Result<Vec<StoredGroup>, OpenError> {
    store.load()?.collect()
}

fn numbers(store: &Store) -> Vec<u64> {
    load(store).unwrap().into_iter().map(|group| group.number).collect()
}

/// Pieces of the groups in the store.
fn pieces(store: &Store) -> usize {
    sled(store).groups_tree().range(1_u64.to_be_bytes()..).count()
}

#[test]
fn staged_changes_are_read_before_what_is_stored() {
    let folder = Folder::new();
    let store = Arc::new(folder.open().unwrap());
    let mut writer = writer(&store);
    assert!(writer.is_empty());
    let read = |writer: &Writer| writer.family(1, "f").unwrap();
    let (one, two) = (family("f", 10, 1), family("f", 90_000, 2));
    for family in [&one, &two, &one] {
        writer.put(1, &key(1), &state(1), FamiliesChange::Replace(vec![family])).unwrap();
        assert_eq!(read(&writer).as_ref(), Some(family));
    }
    assert_eq!(store.read(1).unwrap(), None, "nothing is applied yet");
    writer.commit(&at(5)).unwrap();
    assert!(writer.is_empty());
    assert_eq!(store.read(1).unwrap().unwrap().families, [one]);
    writer.purge(1);
    assert_eq!(read(&writer), None);
    assert!(!writer.is_empty());
    writer.commit(&at(5)).unwrap();
    assert_eq!((store.read(1).unwrap(), pieces(&store)), (None, 0));
}

#[test]
fn a_deletion_of_everything_that_was_not_synced_may_be_lost_but_not_half() {
    let folder = Folder::new();
    let store = Arc::new(folder.open().unwrap());
    put(&store, 1, 10, 1);
    let mut writer = writer(&store);
    writer.wipe();
    let new = family("f", 10, 2);
    writer.put(2, &key(2), &state(1), FamiliesChange::Replace(vec![&new])).unwrap();
    writer.commit(&at(5)).unwrap();
    drop(writer);
    assert_eq!(numbers(&store), [2]);
    store.sync().unwrap();
    // Not reclaimed: the rest of the old tree goes when the store is opened.
    let store = folder.reopen(store);
    assert_eq!(numbers(&store), [2]);
    assert_eq!(sled(&store).groups_trees(), 1);
}

/// As many chunks as it takes, and no others.
#[test]
fn a_change_of_few_families_of_a_wide_group_writes_few_chunks() {
    let folder = Folder::new();
    let store = Arc::new(folder.open().unwrap());
    let mut writer = writer(&store);
    let wide: Vec<_> = (0..1000).map(|n| family(&format!("m_{n}"), 100, 1)).collect();
    let change = FamiliesChange::Replace(wide.iter().collect());
    writer.put(1, &key(1), &state(1), change).unwrap();
    let all = writer.staged_chunks();
    assert!(all > 20, "{all}");
    writer.commit(&at(5)).unwrap();
    let few = |names: &[&str]| names.iter().map(|name| family(name, 100, 2)).collect::<Vec<_>>();
    let many: Vec<_> = (0..100).map(|n| family(&format!("more_{n}"), 100, 2)).collect();
    for (families, most) in
        [(few(&["m_500"]), 2), (few(&["new"]), 2), (few(&["m_1", "m_999"]), 3), (many, 10)]
    {
        let change = FamiliesChange::Update(families.iter().collect());
        writer.put(1, &key(1), &state(1), change).unwrap();
        let chunks = writer.staged_chunks();
        assert!((1..=most).contains(&chunks), "{chunks} chunks for {} families", families.len());
        writer.commit(&at(5)).unwrap();
        for family in &families {
            assert_eq!(writer.family(1, family.name()).unwrap().as_ref(), Some(family));
        }
    }
    writer.put(1, &key(1), &state(2), FamiliesChange::Keep).unwrap();
    assert_eq!(writer.staged_chunks(), 1, "the head alone");
    writer.commit(&at(5)).unwrap();
    let group = store.read(1).unwrap().unwrap();
    assert_eq!((group.families.len(), group.state.pushes), (1101, 2));
}

#[test]
fn what_was_synced_is_there_after_a_reopen() {
    let folder = Folder::new();
    let store = Arc::new(folder.open().unwrap());
    put(&store, 1, 10, 1);
    put(&store, 256, 50_000, 2);
    store.sync().unwrap();
    let before = load(&store).unwrap();
    let store = folder.reopen(store);
    assert_eq!(load(&store).unwrap(), before);
    assert_eq!(numbers(&store), [1, 256]);
    assert!(store.disk_bytes() > 0);
}

#[test]
fn a_store_that_has_less_than_was_synced_says_so() {
    let folder = Folder::new();
    let store = Arc::new(folder.open().unwrap());
    put(&store, 1, 0, 1);
    store.sync().unwrap();
    folder.close(store);
    let options = Options { path: folder.path().to_owned(), cache_bytes: 8 << 20 };
    let verify = || verify(&options).unwrap().lines();
    assert_eq!(verify(), [""; 0]);
    let old = Folder::new();
    for file in ["conf", "db", "schema_version"] {
        fs::copy(folder.path().join(file), old.path().join(file)).unwrap();
    }
    // A sync without a batch claims nothing.
    let store = folder.open().unwrap();
    store.sync().unwrap();
    folder.close(store);
    assert_eq!(verify(), [""; 0]);
    let store = Arc::new(folder.open().unwrap());
    put(&store, 2, 0, 1);
    store.sync().unwrap();
    folder.close(store);
    assert_eq!(verify(), [""; 0]);
    fs::copy(old.path().join("db"), folder.path().join("db")).unwrap();
    let lines = verify();
    assert_eq!(lines.first().unwrap(), "lost: 1 group of which nothing is left", "{lines:?}");
}

#[test]
fn the_offset_of_the_clock_is_kept() {
    let folder = Folder::new();
    let mut store = Arc::new(folder.open().unwrap());
    assert_eq!(store.clock_offset_ms().unwrap(), None);
    for offset in [-3_600_000, 0, i64::MAX] {
        store.keep_clock_offset_ms(offset).unwrap();
        store.sync().unwrap();
        store = folder.reopen(store);
        assert_eq!(store.clock_offset_ms().unwrap(), Some(offset));
    }
    folder.close(store);
    let db = folder.sled();
    db.open_tree("meta").unwrap().insert("clock_offset_ms", b"short").unwrap();
    db.flush().unwrap();
    drop(db);
    File::open(folder.path().join("db")).unwrap().lock().unwrap();
    let offset = folder.open().unwrap().clock_offset_ms();
    assert!(matches!(offset, Err(OpenError::Damaged { .. })));
}

#[test]
fn a_folder_that_is_in_use_is_left_alone() {
    let folder = Folder::new();
    let store = Arc::new(folder.open().unwrap());
    put(&store, 1, 10, 1);
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
    };
    version(&8_u32.to_le_bytes());
    assert!(matches!(folder.open(), Err(OpenError::Newer { stored: 8, .. })));
    File::open(folder.path().join("db")).unwrap().lock().unwrap();
    version(b"no number");
    assert_eq!(folder.open().unwrap().reports().len(), 1, "it is built anew");
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
fn a_version_that_is_no_number_is_damage_that_is_mended() {
    let folder = Folder::new();
    let store = Arc::new(folder.open().unwrap());
    put(&store, 1, 10, 1);
    store.sync().unwrap();
    let before = load(&store).unwrap();
    folder.close(store);
    fs::write(folder.path().join("schema_version"), "one").unwrap();
    let store = folder.open().unwrap();
    assert_eq!(load(&store).unwrap(), before);
    let [(old, report)] = store.reports().try_into().unwrap();
    assert!(report.contains("its file schema_version holds no number"), "{report}");
    assert_eq!(fs::read_to_string(old.join("schema_version")).unwrap(), "one");
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
fn a_piece_that_is_not_as_it_was_written_is_an_error() {
    type Tamper = fn(&::sled::Tree);
    const PIECE: fn(u32) -> [u8; 16] = |at| piece::key(ChunkKey { group: 1, chunk: 1 }, at);
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
    let more: Tamper = |groups| drop(groups.insert(PIECE(4), vec![0; 4096]).unwrap());
    let no_chunk: Tamper = |groups| (0..4).for_each(|at| drop(groups.remove(PIECE(at)).unwrap()));
    for (what, tamper) in [
        ("garbage", garbage),
        ("an empty piece", empty),
        ("a flipped bit", flipped),
        ("pieces in another order", swapped),
        ("no middle", no_middle),
        ("no end", no_end),
        ("a longer end", more),
        ("no chunk", no_chunk),
    ] {
        let folder = Folder::new();
        let store = Arc::new(folder.open().unwrap());
        put(&store, 1, 15_000, 1);
        assert_eq!(pieces(&store), 1 + 4);
        folder.close(store);
        folder.tamper(tamper);
        let store = Arc::new(folder.open().unwrap());
        let loaded = load(&store);
        assert!(matches!(loaded, Err(OpenError::Damaged { .. })), "{what}: {loaded:?}");
        let read = store.read(1);
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

/// Whatever sled makes of a flip: all groups are there as they were, but for the one that it hit, which is
/// named.
#[test]
fn a_bit_that_flips_on_the_disk_costs_one_group_at_most() {
    let folder = Folder::new();
    let store = Arc::new(folder.open().unwrap());
    for group in 1..61_u8 {
        put(&store, group.into(), 12_000, group);
        store.sync().unwrap();
    }
    let written = load(&store).unwrap();
    folder.close(store);
    let files = folder.files();
    let db = &files[&folder.path().join("db")];
    let used = db.iter().rposition(|byte| *byte != 0).unwrap();
    let mut rebuilt = 0;
    for at in (0..used).step_by(used / 40) {
        let copy = Folder::new();
        for file in ["conf", "schema_version", "mark"] {
            fs::copy(folder.path().join(file), copy.path().join(file)).unwrap();
        }
        let mut flipped = db.clone();
        flipped[at] ^= 0x10;
        fs::write(copy.path().join("db"), flipped).unwrap();
        let store = Arc::new(copy.open().unwrap());
        let load = || {
            let mut loaded = Vec::new();
            let writer = Writer::load(&store, |group| {
                loaded.push(group);
                Ok::<_, OpenError>(())
            });
            writer.map(|_| loaded)
        };
        let loaded = load().or_else(|_| store.recover().and_then(|()| load())).unwrap();
        let reports = store.reports();
        rebuilt += usize::from(!reports.is_empty());
        let is_as_it_was = |group: &&StoredGroup| written.contains(group);
        let whole = loaded.iter().filter(is_as_it_was).count();
        assert!(whole >= written.len() - 1, "byte {at}: {whole} groups: {reports:?}");
        if whole < written.len() {
            assert!(reports[0].1.contains("in part: ") || reports[0].1.contains("lost: "), "{at}");
        }
    }
    assert!(rebuilt > 5, "{rebuilt} stores were built anew");
}

#[derive(Clone, Debug)]
enum Op {
    Put(u64, Kind, Vec<(u8, usize, u8)>),
    Remove(u64),
    Purge(u64),
    Wipe,
    Rewrite,
    Commit,
    Reopen,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Keep,
    Replace,
    Update,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let sizes = prop_oneof![4 => 0..100_usize, 1 => 4000..4110_usize, 1 => 0..20_000_usize];
    let families = prop::collection::vec((any::<u8>(), sizes, any::<u8>()), 0..30);
    let kind =
        prop_oneof![1 => Just(Kind::Keep), 2 => Just(Kind::Replace), 4 => Just(Kind::Update)];
    let op = prop_oneof![
        12 => (1..4_u64, kind, families).prop_map(|(at, kind, new)| Op::Put(at, kind, new)),
        2 => (1..4_u64).prop_map(Op::Remove),
        2 => (1..4_u64).prop_map(Op::Purge),
        1 => Just(Op::Wipe),
        1 => Just(Op::Rewrite),
        5 => Just(Op::Commit),
        1 => Just(Op::Reopen),
    ];
    prop::collection::vec(op, 1..40)
}

fn sorted(mut families: Vec<EncodedFamily>) -> Vec<EncodedFamily> {
    families.sort_by(|a, b| a.name().cmp(b.name()));
    families
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_store_holds_what_a_map_holds_and_no_stale_pieces(ops in ops()) {
        let folder = Folder::new();
        let mut store = Arc::new(folder.open().unwrap());
        let mut writer = writer(&store);
        let mut map = MapGroups::default();
        // A number is never used again once its group was purged.
        let mut numbers = [0, 1, 2, 3];
        let mut next = 4;
        for op in ops.into_iter().chain([Op::Commit]) {
            let number = |at: u64| numbers[usize::try_from(at).unwrap()];
            match op {
                Op::Put(at, kind, new) => {
                    let at = number(at);
                    // A removed group is not put any more.
                    if map.groups.get(&at).is_some_and(|group| group.removal.is_some()) {
                        continue;
                    }
                    let new: BTreeMap<_, _> = new.into_iter().map(|it| (it.0, it)).collect();
                    let new: Vec<_> =
                        new.values().map(|(name, bytes, fill)| family(&format!("f_{name}"), *bytes, *fill)).collect();
                    let families = match kind {
                        Kind::Keep => FamiliesChange::Keep,
                        Kind::Replace => FamiliesChange::Replace(new.iter().collect()),
                        Kind::Update => FamiliesChange::Update(new.iter().collect()),
                    };
                    writer.put(at, &key(at), &state(at), families.clone()).unwrap();
                    map.put(at, &key(at), &state(at), families).unwrap();
                }
                Op::Remove(at) => {
                    let at = number(at);
                    if map.groups.contains_key(&at) {
                        writer.remove(at, &removal(at));
                        map.remove(at, &removal(at));
                    }
                }
                Op::Purge(at) => {
                    writer.purge(number(at));
                    map.purge(number(at));
                    numbers[usize::try_from(at).unwrap()] = next;
                    next += 1;
                }
                Op::Wipe => {
                    writer.wipe();
                    map.wipe();
                }
                Op::Rewrite => writer.rewrite().unwrap(),
                Op::Commit | Op::Reopen => {
                    writer.commit(&at(5)).unwrap();
                    store.sync().unwrap();
                    if matches!(op, Op::Reopen) {
                        drop(writer);
                        store = folder.reopen(store);
                        writer = self::writer(&store);
                    } else {
                        store.reclaim().unwrap();
                    }
                    let loaded = load(&store).unwrap();
                    prop_assert_eq!(loaded.len(), map.groups.len());
                    for group in &loaded {
                        let expected = &map.groups[&group.number];
                        let families: Vec<_> = expected.families.values().cloned().collect();
                        prop_assert_eq!(&sorted(group.families.clone()), &families);
                        prop_assert_eq!(&group.removal, &expected.removal);
                        prop_assert_eq!(group.state.pushes, expected.state.pushes);
                        prop_assert_eq!(&store.read(group.number).unwrap(), &Some(group.clone()));
                    }
                    prop_assert_eq!(pieces(&store), writer.pieces());
                    // The same is found past sled, though old versions of all lie in the file, too.
                    let (findings, found) = scanned(folder.path());
                    prop_assert!(findings.is_sound(), "{:?}", findings);
                    prop_assert_eq!(found, loaded);
                }
            }
            for (number, group) in &map.groups {
                for family in group.families.values() {
                    let read = writer.family(*number, family.name()).unwrap();
                    prop_assert_eq!(read.as_ref(), Some(family));
                }
                prop_assert_eq!(writer.family(*number, "another").unwrap(), None);
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
