//! Tests that decode images with ffmpeg.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_shows_what_was_on_the_screen_at_its_time() {
    let mut stage = Stage::new();
    // Red until 0.9 s, green until 1.95 s, blue until 3 s sharp, then white.
    let pictures = [
        (0, RED),
        (500, RED),
        (900, GREEN),
        (1400, GREEN),
        (1950, BLUE),
        (2450, BLUE),
        (3000, WHITE),
        (3500, BLACK),
    ];
    let images = take(&mut stage, &plan(Duration::from_secs(1)), &pictures).await;
    let at: Vec<_> = images.iter().map(|image| image.kind.clone()).collect();
    let expected = [0, 1, 2, 3].map(|index| ArtifactKind::Image { index, at: Duration::from_secs(index) });
    assert_eq!(at, expected);
    let names: Vec<&str> = images.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(names[..2], ["thumbs/page_00000.jpeg", "thumbs/page_00001.jpeg"]);
    for (image, colour) in images.iter().zip([RED, GREEN, BLUE, WHITE]) {
        assert_colour(pixel(image, 80, 45, 160), colour);
        assert_eq!(image.size, image.local.metadata().unwrap().len());
    }
    stage.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_interval_repeats_a_picture_that_stands() {
    let mut stage = Stage::new();
    let pictures = [(0, RED), (500, GREEN), (1000, BLUE)];
    let images = take(&mut stage, &plan(Duration::from_millis(200)), &pictures).await;
    assert_eq!(images.len(), 6);
    for (image, colour) in images.iter().zip([RED, RED, RED, GREEN, GREEN, BLUE]) {
        assert_colour(pixel(image, 10, 10, 160), colour);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_shape_gets_borders() {
    let mut stage = Stage::new();
    let plan = ImagesPlan { width: 200, height: 200, ..plan(Duration::from_secs(1)) };
    let images = take(&mut stage, &plan, &[(0, RED)]).await;
    // 200 x 112 in the middle.
    assert_colour(pixel(&images[0], 100, 100, 200), RED);
    assert_colour(pixel(&images[0], 100, 20, 200), BLACK);
    assert_colour(pixel(&images[0], 100, 180, 200), BLACK);
}
