//! Which number stands for which receiver in the journal's records. A name gets its number when it is first used, in the
//! manifest, and keeps it: so a record is its receiver's whatever the configuration says by the time it is read.

use super::{Folder, FolderError, MANIFEST, read_manifest, write_manifest};

impl Folder {
    /// The names of all receivers that ever had one, by number.
    pub(crate) fn receivers(&self) -> Result<Vec<String>, FolderError> {
        read_manifest(&self.path.join(MANIFEST)).map(|manifest| manifest.receivers)
    }

    /// The number of each of these receivers, in their order. New names are written down before this returns.
    pub(crate) fn number_receivers<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Vec<u16>, FolderError> {
        let path = self.path.join(MANIFEST);
        let mut manifest = read_manifest(&path)?;
        let known = manifest.receivers.len();
        let mut number = |name: &str| {
            let at = manifest.receivers.iter().position(|known| known == name).unwrap_or_else(|| {
                manifest.receivers.push(name.to_owned());
                manifest.receivers.len() - 1
            });
            u16::try_from(at).map_err(|_| FolderError::TooManyReceivers { path: self.path.clone() })
        };
        let numbers = names.into_iter().map(&mut number).collect::<Result<Vec<u16>, FolderError>>()?;
        if manifest.receivers.len() > known {
            write_manifest(&self.path, &path, &manifest)?;
        }
        Ok(numbers)
    }
}
