from configs.kernel.metrics import Metrics, Sample


def test_samples_are_grouped_by_name_and_read_at_the_scrape() -> None:
    viewers = {"demo": 1, "shop": 2}
    metrics = Metrics()
    metrics.add(
        lambda: [Sample("viewers", "Viewers.", n, labels={"room": r}) for r, n in viewers.items()]
    )
    metrics.add(lambda: [Sample("bytes", "Bytes.", 7, kind="counter")])

    viewers["shop"] = 5
    text = metrics.render().decode()

    assert 'vitrine_viewers{room="demo"} 1.0' in text
    assert 'vitrine_viewers{room="shop"} 5.0' in text
    assert "vitrine_bytes_total 7.0" in text
    assert text.count("# TYPE vitrine_viewers gauge") == 1
    assert "process_resident_memory_bytes" in text
