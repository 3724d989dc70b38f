//! Groups of a store that may be damaged: which are whole, and a new store of those.

use prost::Message;

use super::stored::chunk_sum;
use crate::model::GroupingKey;
use crate::store::record::{ChunkRecord, GroupRecord, TombstoneRecord};
use crate::store::salvage::{Found, Kept, salvage};
use crate::store::{
    Batch, ChunkRef, CloseError, CommitError, Loaded, OpenError, Options, Store, TOMBSTONE,
};

/// What was found in a store.
#[derive(Debug, Default)]
pub struct Salvaged {
    pub groups: u64,
    /// Groups that are gone, and could be brought back.
    pub departed: u64,
    pub chunks: u64,
    pub bytes: u64,
    /// What cannot be read, or does not fit together.
    pub damage: Vec<String>,
}

/// Why a new store could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot write the new store")]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Close(#[from] CloseError),
}

/// So many groups are written in one go.
const GROUPS_AT_ONCE: usize = 256;

/// Collects the chunks of one group after the other.
struct Collector<'a> {
    salvaged: Salvaged,
    group: Vec<Loaded>,
    /// Is given each group that is whole.
    whole: &'a mut dyn FnMut(Vec<Loaded>),
}

impl Collector<'_> {
    fn found(&mut self, found: Found) {
        match found {
            Found::Damage(what) => self.salvaged.damage.push(what),
            Found::Chunk(chunk) => {
                if self.group.first().is_some_and(|first| first.key.group != chunk.key.group) {
                    self.end_of_group();
                }
                self.group.push(chunk);
            }
        }
    }

    fn end_of_group(&mut self) {
        let group = std::mem::take(&mut self.group);
        let Some(first) = group.first() else { return };
        match judge(&group) {
            Ok(departed) => {
                let salvaged = &mut self.salvaged;
                salvaged.groups += u64::from(!departed);
                salvaged.departed += u64::from(departed);
                salvaged.chunks += group.len() as u64;
                salvaged.bytes +=
                    group.iter().map(|chunk| chunk.frame.payload().len() as u64).sum::<u64>();
                (self.whole)(group);
            }
            Err(what) => self.salvaged.damage.push(format!("group {}: {what}", first.key.group)),
        }
    }
}

/// Whether the chunks are those of one group, all of them; then, whether it is gone.
fn judge(chunks: &[Loaded]) -> Result<bool, String> {
    let Some((head, chunks)) = chunks.split_first().filter(|(head, _)| head.key.chunk == 0) else {
        return Err("its head is missing".into());
    };
    let record = GroupRecord::decode(head.frame.payload()).map_err(|error| error.to_string())?;
    let key = GroupingKey::from_bytes(&record.key).map_err(|error| error.to_string())?;
    let (mut refs, mut departed): (Vec<ChunkRef>, bool) = (Vec::new(), false);
    for chunk in chunks {
        let (number, payload) = (chunk.key.chunk, chunk.frame.payload());
        if number == TOMBSTONE {
            TombstoneRecord::decode(payload).map_err(|error| format!("{key}: {error}"))?;
            departed = true;
            continue;
        }
        let record = ChunkRecord::decode(payload).map_err(|error| format!("{key}: {error}"))?;
        for family in &record.families {
            family.decode_metrics().map_err(|error| format!("{key}: {}: {error}", family.name))?;
        }
        refs.push(chunk.frame.to_ref(number));
    }
    if refs.len() != record.chunk_count as usize || chunk_sum(&refs) != record.chunk_sum {
        let (found, expected) = (refs.len(), record.chunk_count);
        return Err(format!("{key}: {found} of its {expected} chunks are there, or others are"));
    }
    for family in &record.families {
        family.decode_metrics().map_err(|error| format!("{key}: {}: {error}", family.name))?;
    }
    Ok(departed)
}

fn collect(
    options: &Options,
    whole: &mut dyn FnMut(Vec<Loaded>),
) -> Result<(Salvaged, Kept), OpenError> {
    let mut collector = Collector { salvaged: Salvaged::default(), group: Vec::new(), whole };
    let kept = salvage(options, &mut |found| collector.found(found))?;
    collector.end_of_group();
    Ok((collector.salvaged, kept))
}

/// Looks at everything in a store that no gateway uses, and changes nothing.
pub fn verify(options: &Options) -> Result<Salvaged, OpenError> {
    collect(options, &mut |_| {}).map(|(salvaged, _)| salvaged)
}

/// Writes all that is whole to a new store.
pub fn repair(from: &Options, to: &Options) -> Result<Salvaged, RepairError> {
    let new = Store::open(to)?;
    let (mut batch, mut staged) = (Batch::default(), 0);
    let mut failed = None;
    let result = collect(from, &mut |group| {
        for Loaded { key, frame } in group {
            batch.put(key, frame, None);
        }
        staged += 1;
        if staged == GROUPS_AT_ONCE && failed.is_none() {
            failed = new.apply(&std::mem::take(&mut batch)).err();
            staged = 0;
        }
    });
    let (salvaged, kept) = result?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    new.apply(&batch)?;
    if let Some(offset) = kept.clock_offset_ms {
        new.keep_clock_offset_ms(offset)?;
    }
    if let Some(alive) = kept.alive_ms {
        new.keep_alive_ms(alive)?;
    }
    // There are groups: nothing is to be imported over them.
    new.keep_import_state(crate::store::ImportState::Done)?;
    new.sync()?;
    new.close()?;
    Ok(salvaged)
}
