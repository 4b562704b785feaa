//! A run taken away as a file.

use anyhow::Result;

use crate::visit::{LINK, SOON, Visit};

/// How a pcapng file begins: the type of its Section Header Block, whatever the byte order
/// (draft-ietf-opsawg-pcapng, section 4.1).
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

#[tokio::test]
async fn the_menu_saves_a_run_in_every_format() -> Result<()> {
    let visit = Visit::to("/e/tcp-lifecycle").await?;
    let page = &visit.page;
    let id = visit.start().await?;
    visit.verdict().await?;
    page.wait_for(SOON, &format!("{LINK} === 'REPLAY'")).await?;
    for (text, extension, beginning) in [
        (
            "Capture for Wireshark (pcapng)",
            "pcapng",
            &SECTION_HEADER[..],
        ),
        ("Picture (SVG)", "svg", b"<"),
        ("Mermaid diagram", "", b""),
        ("Text diagram", "txt", b""),
        ("Events (JSON Lines)", "jsonl", b"{"),
    ] {
        let open = "document.querySelector('#exports:popover-open')";
        page.evaluate("document.querySelector('#exports').hidePopover()")
            .await?;
        page.click("document.querySelector('button.export')")
            .await?;
        page.wait_for(SOON, &format!("!!{open}")).await?;
        let link = format!(
            "Array.from({open}.querySelectorAll('a')).find(link => link.textContent === '{text}')"
        );
        let (name, content) = page.download(SOON, &link).await?;
        assert!(name.starts_with(&id) && name.ends_with(extension), "{name}");
        assert!(
            content.len() > 500 && content.starts_with(beginning),
            "{name} has {} bytes and begins with {:?}",
            content.len(),
            &content[..content.len().min(8)]
        );
    }
    page.check()
}
