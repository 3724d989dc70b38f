//! A disk that forgets: what file operations leave behind when the power goes.
//!
//! An operation is in the kernel's caches once it was made, and on the disk once an `fsync` or
//! `fdatasync` of its file, or of the folder whose entries it changed, has begun after it and ended.
//! Until then each of its parts may be on the disk or not:
//! - each block of a file by itself, with what any of the writes to it has left;
//! - the length of a file, apart from its blocks: one that is missing within it reads as zeros;
//! - each entry of a folder, in any order; a rename is there or not, and never half. Only a snapshot of sled
//!   is not removed before the next one is there: sled syncs no folder in between, and is lost without one.
//!   Every file system of Linux keeps that order.
//!
//! That is harder than any one file system is, and no harder than what POSIX allows.
//! `sync_file_range` is no operation here: it waits neither for the disk's cache nor for a length.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use support::random::Random;

/// When an operation had ended, as a line of the trace.
pub(crate) type Moment = usize;

/// A file operation. Paths are below the root of the disk, with `/` between their parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Opens a file, and creates it where it is missing.
    Open {
        path: String,
        truncates: bool,
    },
    Write {
        path: String,
        at: usize,
        data: Vec<u8>,
    },
    Resize {
        path: String,
        len: usize,
    },
    MakeFolder {
        path: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        path: String,
    },
    /// Of a file or a folder.
    Sync {
        path: String,
    },
}

/// The contents of a disk: files with their content, and folders.
pub(crate) type Image = BTreeMap<String, Option<Vec<u8>>>;

/// The state of a disk and of the caches above it.
#[derive(Debug)]
pub(crate) struct Disk<'a> {
    nodes: Vec<Node<'a>>,
}

#[derive(Debug)]
enum Node<'a> {
    File(File<'a>),
    Folder(Folder),
}

#[derive(Debug, Default)]
struct File<'a> {
    durable: Vec<u8>,
    unsynced: Vec<(Moment, Change<'a>)>,
}

#[derive(Clone, Copy, Debug)]
enum Change<'a> {
    Write { at: usize, data: &'a [u8] },
    Resize(usize),
}

/// Entries of a folder that change together, and the nodes that they name from then on.
type Entries = Vec<(String, Option<usize>)>;

#[derive(Debug, Default)]
struct Folder {
    durable: BTreeMap<String, usize>,
    cached: BTreeMap<String, usize>,
    unsynced: Vec<(Moment, Entries)>,
}

const ROOT: usize = 0;

impl<'a> Disk<'a> {
    /// A disk that holds an image, durably.
    pub(crate) fn new(image: &Image) -> Self {
        let mut disk = Self { nodes: vec![Node::Folder(Folder::default())] };
        for (path, content) in image {
            let node = match content {
                Some(content) => Node::File(File { durable: content.clone(), ..File::default() }),
                None => Node::Folder(Folder::default()),
            };
            let number = disk.add(node);
            let (folder, name) = disk.place(path);
            folder.cached.insert(name.clone(), number);
            folder.durable.insert(name, number);
        }
        disk
    }

    fn add(&mut self, node: Node<'a>) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The node of a path, to somebody who sees the caches.
    fn find(&self, path: &str) -> Option<usize> {
        path.split('/').filter(|part| !part.is_empty()).try_fold(ROOT, |node, part| {
            match &self.nodes[node] {
                Node::Folder(folder) => folder.cached.get(part).copied(),
                Node::File(_) => None,
            }
        })
    }

    /// The folder that a path is in, and its name there.
    fn place(&mut self, path: &str) -> (&mut Folder, String) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let node = self.find(folder).unwrap_or_else(|| panic!("no folder for {path}"));
        match &mut self.nodes[node] {
            Node::Folder(folder) => (folder, name.to_owned()),
            Node::File(_) => panic!("{folder} is no folder"),
        }
    }

    /// The file of a path; `None` if it has lost its name, so that nobody can find it again.
    fn file(&mut self, path: &str) -> Option<&mut File<'a>> {
        match self.find(path).map(|node| &mut self.nodes[node]) {
            Some(Node::File(file)) => Some(file),
            Some(Node::Folder(_)) => panic!("{path} is a folder"),
            None => None,
        }
    }

    fn change(&mut self, path: &str, ended: Moment, change: Change<'a>) {
        if let Some(file) = self.file(path) {
            file.unsynced.push((ended, change));
        }
    }

    /// Makes an operation that began and ended at these moments, in the order of their ends.
    pub(crate) fn apply(&mut self, began: Moment, ended: Moment, operation: &'a Operation) {
        match operation {
            Operation::Open { path, truncates } => {
                if self.find(path).is_none() {
                    let node = self.add(Node::File(File::default()));
                    self.enter(path, ended, node);
                } else if *truncates {
                    self.change(path, ended, Change::Resize(0));
                }
            }
            Operation::Write { path, at, data } => {
                self.change(path, ended, Change::Write { at: *at, data });
            }
            Operation::Resize { path, len } => self.change(path, ended, Change::Resize(*len)),
            Operation::MakeFolder { path } => {
                let node = self.add(Node::Folder(Folder::default()));
                self.enter(path, ended, node);
            }
            Operation::Rename { from, to } => {
                let node = self.find(from).unwrap_or_else(|| panic!("{from} is not there"));
                let (to_folder, to_name) = to.rsplit_once('/').unwrap_or(("", to));
                let (folder, from_name) = self.place(from);
                assert!(
                    from.rsplit_once('/').unwrap_or(("", from)).0 == to_folder,
                    "a rename to another folder is not modelled: {from} {to}"
                );
                folder.make(ended, vec![(from_name, None), (to_name.to_owned(), Some(node))]);
            }
            Operation::Remove { path } => {
                let (folder, name) = self.place(path);
                folder.make(ended, vec![(name, None)]);
            }
            Operation::Sync { path } => match self.find(path).map(|node| &mut self.nodes[node]) {
                Some(Node::File(file)) => file.sync(began),
                Some(Node::Folder(folder)) => folder.sync(began),
                None => {}
            },
        }
    }

    fn enter(&mut self, path: &str, ended: Moment, node: usize) {
        let (folder, name) = self.place(path);
        folder.make(ended, vec![(name, Some(node))]);
    }

    /// A disk as it may be when the power fails now.
    pub(crate) fn cut(&self, random: &mut Random) -> Image {
        let luck = Luck::draw(random);
        let mut image = Image::new();
        let mut folders = vec![(String::new(), ROOT)];
        // A file has one content however many names are left of it.
        let mut contents: HashMap<usize, Vec<u8>> = HashMap::new();
        while let Some((path, node)) = folders.pop() {
            let Node::Folder(folder) = &self.nodes[node] else { continue };
            for (name, node) in folder.cut(&luck, random) {
                let path = if path.is_empty() { name } else { format!("{path}/{name}") };
                let content = match &self.nodes[node] {
                    Node::File(file) => {
                        let content = contents.entry(node);
                        Some(content.or_insert_with(|| file.cut(&luck, random)).clone())
                    }
                    Node::Folder(_) => {
                        folders.push((path.clone(), node));
                        None
                    }
                };
                image.insert(path, content);
            }
        }
        image
    }
}

/// How a power cut goes, as a whole: with a disk that writes early little is lost, and now and then
/// only a sector of a block was written.
#[derive(Clone, Copy, Debug)]
struct Luck {
    block: usize,
    kept_percent: usize,
    /// Whether entries of folders are kept in the order in which they were made, as by a journal.
    is_journaled: bool,
}

impl Luck {
    fn draw(random: &mut Random) -> Self {
        Self {
            block: *random.pick(&[4096, 4096, 4096, 512]),
            kept_percent: *random.pick(&[5, 30, 50, 70, 95]),
            is_journaled: random.chance(50),
        }
    }

    /// Which of the versions from 0 to `last` something has.
    fn version(&self, last: usize, random: &mut Random) -> usize {
        if random.chance(self.kept_percent) { last } else { random.below(last + 1) }
    }
}

impl Change<'_> {
    /// Changes a whole content.
    fn make(self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, data } => {
                let end = at + data.len();
                content.resize(content.len().max(end), 0);
                content[at..end].copy_from_slice(data);
            }
            Self::Resize(len) => content.resize(len, 0),
        }
    }
}

impl File<'_> {
    fn sync(&mut self, began: Moment) {
        let covered = self.unsynced.iter().take_while(|(ended, _)| *ended < began).count();
        for (_, change) in self.unsynced.drain(..covered) {
            change.make(&mut self.durable);
        }
    }

    fn cut(&self, luck: &Luck, random: &mut Random) -> Vec<u8> {
        let changes: Vec<Change<'_>> = self.unsynced.iter().map(|(_, change)| *change).collect();
        // The length goes with the changes before this one. The length that a file was cut down to is
        // part of that: a block from before is not seen again, and one from after a cut to come is not
        // yet.
        let known = luck.version(changes.len(), random);
        let (before, after) = changes.split_at(known);
        let is_resize = |change: &Change<'_>| matches!(change, Change::Resize(_));
        let first = before.iter().rposition(is_resize).map_or(0, |at| at + 1);
        let last = after.iter().position(is_resize).map_or(changes.len(), |at| known + at);
        let mut base = self.durable.clone();
        for change in &changes[..first] {
            change.make(&mut base);
        }
        // Each block has a version for each write to it.
        let mut writes: BTreeMap<usize, Vec<(usize, &[u8])>> = BTreeMap::new();
        let mut len = base.len();
        for (number, change) in changes.iter().enumerate().take(last).skip(first) {
            let Change::Write { at, data } = *change else { continue };
            if number < known {
                len = len.max(at + data.len());
            }
            for block in at / luck.block..(at + data.len()).div_ceil(luck.block) {
                let from = at.max(block * luck.block);
                let to = (at + data.len()).min((block + 1) * luck.block);
                writes.entry(block).or_default().push((from, &data[from - at..to - at]));
            }
        }
        let mut content = base;
        content.resize(len, 0);
        for versions in writes.values() {
            let version = luck.version(versions.len(), random);
            for (at, data) in &versions[..version] {
                // Behind the end of the file there is nothing to see of it.
                let end = (at + data.len()).min(len);
                if let Some(kept) = end.checked_sub(*at) {
                    content[*at..end].copy_from_slice(&data[..kept]);
                }
            }
        }
        content
    }
}

impl Folder {
    fn make(&mut self, ended: Moment, entries: Entries) {
        enter(&mut self.cached, &entries);
        self.unsynced.push((ended, entries));
    }

    fn sync(&mut self, began: Moment) {
        let covered = self.unsynced.iter().take_while(|(ended, _)| *ended < began).count();
        for (_, entries) in self.unsynced.drain(..covered) {
            enter(&mut self.durable, &entries);
        }
    }

    fn cut(&self, luck: &Luck, random: &mut Random) -> BTreeMap<String, usize> {
        let mut left = self.durable.clone();
        let known = luck.version(self.unsynced.len(), random);
        let mut lacks_snapshot = false;
        for (at, (_, entries)) in self.unsynced.iter().enumerate() {
            let kept = if luck.is_journaled { at < known } else { luck.version(1, random) == 1 };
            let is_snapshot = entries.iter().any(|(name, _)| name.starts_with("snap."));
            let removes = entries.iter().all(|(_, node)| node.is_none());
            if kept && !(is_snapshot && removes && lacks_snapshot) {
                enter(&mut left, entries);
            } else {
                lacks_snapshot |= is_snapshot;
            }
        }
        left
    }
}

fn enter(into: &mut BTreeMap<String, usize>, entries: &Entries) {
    for (name, node) in entries {
        match node {
            Some(node) => into.insert(name.clone(), *node),
            None => into.remove(name),
        };
    }
}

// === images and real folders ===

/// The contents of a folder.
pub(crate) fn read(folder: &Path) -> Image {
    let mut image = Image::new();
    walk(folder, "", &mut image);
    image
}

fn walk(folder: &Path, path: &str, image: &mut Image) {
    for entry in fs::read_dir(folder).expect("the folder is ours") {
        let entry = entry.expect("the folder is ours");
        let name = entry.file_name().into_string().expect("our names are UTF-8");
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        if entry.path().is_dir() {
            image.insert(path.clone(), None);
            walk(&entry.path(), &path, image);
        } else {
            image.insert(path, Some(fs::read(entry.path()).expect("the file is ours")));
        }
    }
}

/// Writes an image into a folder that is empty.
pub(crate) fn write(image: &Image, folder: &Path) {
    // A folder comes before what is in it.
    for (path, content) in image {
        let path = folder.join(path);
        match content {
            Some(content) => fs::write(path, content),
            None => fs::create_dir(path),
        }
        .expect("there is room in a folder of ours");
    }
}

// === tests ===

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn open(path: &str) -> Operation {
        Operation::Open { path: path.into(), truncates: false }
    }

    fn put(at: usize, byte: u8, len: usize) -> Operation {
        Operation::Write { path: "f".into(), at, data: vec![byte; len] }
    }

    fn sync(path: &str) -> Operation {
        Operation::Sync { path: path.into() }
    }

    /// All that many cuts leave of operations that do not overlap.
    fn outcomes(operations: &[Operation]) -> BTreeSet<Image> {
        let spans = operations.iter().enumerate().map(|(at, operation)| (at, at, operation));
        outcomes_of(spans)
    }

    fn outcomes_of<'a>(
        operations: impl Iterator<Item = (Moment, Moment, &'a Operation)>,
    ) -> BTreeSet<Image> {
        let mut disk = Disk::new(&Image::new());
        for (began, ended, operation) in operations {
            disk.apply(began, ended, operation);
        }
        (0..2000).map(|seed| disk.cut(&mut Random::new(seed))).collect()
    }

    fn files(files: &[(&str, &[&[u8]])]) -> Image {
        let file = |(name, parts): &(&str, &[&[u8]])| ((*name).to_owned(), Some(parts.concat()));
        files.iter().map(file).collect()
    }

    #[test]
    fn what_was_synced_stays_and_the_rest_may_go() {
        let (a, b, zero) = ([b'a'; 4096], [b'b'; 4096], [0; 4096]);
        let begun = [open("f"), put(0, b'a', 4096), sync("f"), sync("")];
        assert_eq!(outcomes(&begun), [files(&[("f", &[&a])])].into());
        // Two blocks are written anew and behind the end, and neither is synced.
        let more = [&begun[..], &[put(0, b'b', 4096), put(4096, b'b', 4096)]].concat();
        let left = outcomes(&more).into_iter().filter(|image| {
            // With whole blocks only.
            image["f"].as_ref().unwrap().chunks(4096).all(|c| c.iter().all(|byte| *byte == c[0]))
        });
        let expected = [[&a, &a], [&b, &a], [&a, &zero], [&b, &zero], [&a, &b], [&b, &b]];
        let mut expected: BTreeSet<Image> =
            expected.iter().map(|[one, two]| files(&[("f", &[*one, *two])])).collect();
        expected.remove(&files(&[("f", &[&a, &a])]));
        expected.remove(&files(&[("f", &[&b, &a])]));
        expected.extend([files(&[("f", &[&a])]), files(&[("f", &[&b])])]);
        assert_eq!(left.collect::<BTreeSet<_>>(), expected);
        // The name of a file is the folder's to keep, not the file's.
        let nameless = [open("f"), put(0, b'a', 4096), sync("f")];
        assert_eq!(outcomes(&nameless), [files(&[]), files(&[("f", &[&a])])].into());
    }

    #[test]
    fn a_sync_covers_what_had_ended_when_it_began() {
        let operations = [open("f"), sync(""), put(0, b'a', 100), sync("f")];
        let [open, folder, put, sync] = &operations;
        let late = [(0, 0, open), (1, 1, folder), (2, 4, put), (3, 5, sync)];
        assert_eq!(outcomes_of(late.into_iter()).len(), 3, "no file length, no data, or both");
        let early = [(0, 0, open), (1, 1, folder), (2, 2, put), (3, 5, sync)];
        assert_eq!(outcomes_of(early.into_iter()).len(), 1);
    }

    #[test]
    fn a_rename_is_there_or_not() {
        let rename = Operation::Rename { from: "f".into(), to: "g".into() };
        let begun = [open("f"), put(0, b'a', 1), sync("f"), open("g"), sync("g"), sync("")];
        let (old, new) = (files(&[("f", &[b"a"]), ("g", &[])]), files(&[("g", &[b"a"])]));
        let unsynced = [&begun[..], std::slice::from_ref(&rename)].concat();
        assert_eq!(outcomes(&unsynced), [old, new.clone()].into());
        let synced = [&begun[..], &[rename, sync("")]].concat();
        assert_eq!(outcomes(&synced), [new].into());
    }

    #[test]
    fn a_file_that_was_cut_down_has_nothing_of_before_behind_that() {
        let cut = Operation::Resize { path: "f".into(), len: 0 };
        let begun = [open("f"), put(0, b'a', 8192), sync("f"), sync("")];
        let cut_and_grown = [&begun[..], &[cut, put(4096, b'b', 4096)]].concat();
        for image in outcomes(&cut_and_grown) {
            let content = image["f"].as_ref().unwrap();
            let old = content.contains(&b'a');
            assert!(!(old && content.contains(&b'b')), "old and new");
            assert!(!old || content.len() == 8192);
        }
    }

    #[test]
    fn a_folder_that_is_lost_takes_its_files_along() {
        let folder = Operation::MakeFolder { path: "d".into() };
        let made = [folder, open("d/f"), sync("d/f"), sync("d")];
        let kept = Image::from([("d".into(), None), ("d/f".into(), Some(vec![]))]);
        assert_eq!(outcomes(&made), [Image::new(), kept].into());
    }
}
