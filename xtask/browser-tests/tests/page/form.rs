//! Parameters: checked while one types, against the server's own bounds.

use anyhow::Result;

use crate::visit::{SOON, Visit};

#[tokio::test]
async fn a_value_out_of_bounds_names_the_bound_and_cannot_be_run() -> Result<()> {
    let visit = Visit::to("/e/tcp-dead-peer").await?;
    let page = &visit.page;
    let field = "document.getElementById('param-count')";
    page.wait_for(SOON, &format!("!!{field}")).await?;
    page.evaluate(&format!("{field}.select(), {field}.focus()"))
        .await?;
    page.type_text("500").await?;
    let error = "document.getElementById('param-count-error').textContent";
    let said = page.wait_for(SOON, error).await?;
    for part in ["count", "500", "127"] {
        assert!(
            said.as_str().is_some_and(|said| said.contains(part)),
            "{part} in {said}"
        );
    }
    assert_eq!(
        page.evaluate(&format!("{field}.ariaInvalid")).await?,
        "true"
    );
    let disabled = "document.querySelector('header.top button.run').disabled";
    assert_eq!(page.evaluate(disabled).await?, true);

    page.evaluate(&format!("{field}.select()")).await?;
    page.type_text("4").await?;
    page.wait_for(SOON, &format!("{error} === ''")).await?;
    page.wait_for(SOON, &format!("{disabled} === false"))
        .await?;
    page.wait_for(
        SOON,
        "new URLSearchParams(location.search).get('count') === '4'",
    )
    .await?;
    page.check()
}
