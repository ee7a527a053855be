//! Open loops whose rate changes.

use crate::server::{Fault, Server, run};

#[test]
fn each_step_sends_what_was_planned_for_it_and_has_its_own_row() {
    let server = Server::start(Fault::None);
    let steps = "--steps 500,1000,200 --step-duration 100ms --threads 2";
    for line in [
        format!("echo --url {} --connections 4", server.echo_url()),
        format!(
            "broadcast --url {} --publishers 3 --subscribers 1",
            server.broadcast_url()
        ),
    ] {
        let ran = run(&format!("{line} {steps}"));
        ran.assert_clean();
        // 50 ms of warm-up at the first rate, then each step.
        assert_eq!(ran.json["messages"]["sent_total"], 25 + 50 + 100 + 20);
        let receipts = ran.json["messages"]["expected_total"].as_u64().unwrap() / 195;
        let rows = ran.json["steps"].as_array().unwrap();
        assert_eq!(rows.len(), 3, "{ran:#?}");
        for (row, (rate, count)) in rows.iter().zip([(500.0, 50), (1000.0, 100), (200.0, 20)]) {
            assert_eq!(row["rate"], rate, "{ran:#?}");
            assert_eq!(row["planned"], count, "{ran:#?}");
            assert_eq!(row["latency_ns"]["count"], count * receipts, "{ran:#?}");
            assert_eq!((&row["missing"], &row["unsent"]), (&0.into(), &0.into()));
        }
    }
}

#[test]
fn a_step_that_lost_messages_is_not_valid() {
    let server = Server::start(Fault::Lose(100));
    let url = server.echo_url();
    let ran = run(&format!(
        "echo --url {url} --connections 1 --steps 400,800 --step-duration 100ms"
    ));
    assert_eq!(ran.code, 2, "{ran:#?}");
    // 20 in the warm-up, then 40 and 80; the hundredth is the second step's.
    let missing: Vec<_> = [0, 1]
        .map(|step| &ran.json["steps"][step]["missing"])
        .into();
    assert_eq!(missing, [&0, &1], "{ran:#?}");
    assert_eq!(ran.json["steps"][1]["valid"], false, "{ran:#?}");
    assert_eq!(ran.json["valid"], false, "{ran:#?}");
}

#[test]
fn a_ramp_sends_its_area() {
    let server = Server::start(Fault::None);
    let line = format!("echo --url {} --connections 3", server.echo_url());
    let ran = run(&format!("{line} --ramp 0..2000"));
    ran.assert_clean();
    assert_eq!(ran.json["messages"]["sent_total"], 300);
    assert_eq!(ran.json["config"]["rate"], 0.0);
    assert_eq!(ran.json["config"]["ramp_to"], 2000.0);
    let ran = run(&format!("{line} --ramp 2000..0"));
    ran.assert_clean();
    assert_eq!(ran.json["messages"]["sent_total"], 100 + 300);
}
