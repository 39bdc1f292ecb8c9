//! Sends a number of GETs, one after the other, through one of the two clients, and reads the whole
//! bodies.
//!
//! `client_instructions <reqwest|pooled> <times> <url>`. `benches/client.sh` runs it under
//! callgrind with two numbers of times, so that one-time costs cancel out, and measures its time.

use std::env;

use bytes::Bytes;
use cfapi_broker::upstream::{ClientFactory, HttpClient, Purpose, Settings};
use http::Request;
use http_body_util::BodyExt;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    // Cargo adds its own flags. Without arguments there is nothing to do.
    let mut arguments = env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let (Some(library), Some(times), Some(url)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Ok(());
    };
    let purpose = match library.as_str() {
        "reqwest" => Purpose::Destination,
        "pooled" => Purpose::CfApi,
        _ => return Err("reqwest or pooled".into()),
    };
    let client = ClientFactory::new(&Settings::default())?.client(purpose)?;
    let times: u64 = times.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for _ in 0..times {
            get(&client, &url).await?;
        }
        Ok(())
    })
}

async fn get(client: &HttpClient, url: &str) -> Outcome<()> {
    let request = Request::get(url)
        .header("authorization", "bearer a-token-of-the-usual-length-would-be-longer")
        .header("accept", "application/json")
        .body(Bytes::new())?;
    let mut body = client.send(request).await?.into_body(10 * 1024 * 1024)?.body;
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}
