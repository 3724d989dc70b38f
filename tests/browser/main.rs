//! The pages in a real browser: what they show and do, in every size and colour, with and without
//! JavaScript, wherever they are served, for whoever looks.
//!
//! A test starts a gateway, pushes to it, and runs a script of this folder, which drives Chromium
//! with `playwright-core`. Whatever the browser complains about fails the script: errors and
//! warnings in its console, what its content policy forbids, a request to anything but the gateway.
//!
//! With `TIDEGATE_SCREENSHOTS=FOLDER` the pictures of the pages go there. With
//! `TIDEGATE_BROWSER_SECONDS=600` pages stay open for so long while things happen, and may take no
//! more memory than they did.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "whatever a test does not expect fails it"
)]

mod demo;
mod looks;
mod many;
mod places;
mod script;
mod uses;
