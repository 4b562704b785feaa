//! The user's choices, kept in the browser where it allows that. A browser that refuses storage
//! (private windows, strict settings) costs the memory of a choice and nothing else.

/// What was stored under a name.
pub fn read(name: &str) -> Option<String> {
    if cfg!(target_arch = "wasm32") {
        store()?.get_item(name).ok()?
    } else {
        None
    }
}

/// Stores a value, or forgets it.
pub fn write(name: &str, value: Option<&str>) {
    if let Some(store) = store() {
        // Full or forbidden: the choice then lasts as long as the page.
        let _ = match value {
            Some(value) => store.set_item(name, value),
            None => store.remove_item(name),
        };
    }
}

fn store() -> Option<web_sys::Storage> {
    web_sys::window()?.local_storage().ok()?
}
