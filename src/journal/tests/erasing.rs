//! What is erased is not only not found any more: it is not in the files.

use super::{HOUR, START, accepted, answered, attempted, commit, directory, ended, finished, open, settings};
use crate::model::Record;
use std::path::Path;
use std::sync::Arc;

/// Occurs nowhere else.
const TEXT: &str = "canary-of-the-journal-7f3a ";
/// So often that it fills pages of its own, which are freed as a whole.
const TEXTS: usize = 1200;

/// Enough that their texts fill pages, however short each is.
const MESSAGES: u64 = 200;
/// Every so many holds the text.
const EVERY: u64 = 4;
const HOLDERS: usize = (MESSAGES / EVERY) as usize;

/// How often the text is in the files of the journal. One of them is gone after an end in order.
fn copies(directory: &Path) -> usize {
    let database = settings(directory).path;
    let files = [database.clone(), database.with_extension("db-wal"), database.with_extension("db-shm")];
    let bytes = files.iter().filter_map(|path| std::fs::read(path).ok());
    let text = TEXT.as_bytes();
    bytes.map(|bytes| bytes.windows(text.len()).filter(|window| *window == text).count()).sum()
}

/// All that happens to messages of which some hold the text so often.
async fn lives(directory: &Path, texts: usize) {
    let journal = open(directory);
    for seq in 1..=MESSAGES {
        let mut record = accepted(seq, START);
        if let Record::Accepted(message) = &mut record
            && seq % EVERY == 0
        {
            Arc::make_mut(message).request.body = TEXT.repeat(texts).into();
        }
        let rest = vec![attempted(seq, 1, START), ended(seq, 1, START), finished(seq, START), answered(seq)];
        commit(&journal, vec![record]).await;
        commit(&journal, rest).await;
    }
    journal.close().await.expect("a clean end");
}

async fn is_erased(texts: usize) {
    let directory = directory();
    lives(directory.path(), texts).await;
    // Where a text goes over the end of a page it is not found.
    let written = copies(directory.path());
    assert!(written >= HOLDERS * (texts - texts / 50), "the files do not hold what this is about: {written}");
    let journal = open(directory.path());
    let pruned = journal.prune(START + HOUR + HOUR).await.expect("a pass");
    assert_eq!(pruned.bodies_erased, MESSAGES);
    journal.close().await.expect("a clean end");
    assert_eq!(copies(directory.path()), 0, "copies are left of {written}");
}

#[tokio::test]
async fn a_short_text_is_in_no_file_once_it_is_erased() {
    is_erased(1).await;
}

#[tokio::test]
async fn a_text_of_several_pages_is_in_no_file_once_it_is_erased() {
    is_erased(TEXTS).await;
}
