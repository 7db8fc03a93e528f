//! Tests that wait for the real clock.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_names_what_takes_the_time_and_there_is_one_at_a_time() {
    let told = Arc::new(AtomicBool::new(false));
    let burning = Arc::clone(&told);
    let burner = std::thread::spawn(move || burns_until_told(&burning));
    let length = Length::seconds(2).unwrap();
    let (first, second) = tokio::join!(take(length), take(length));
    told.store(true, Ordering::Relaxed);
    burner.join().unwrap();
    let (profile, refused) = match (first, second) {
        (Ok(profile), Err(refused)) | (Err(refused), Ok(profile)) => (profile, refused),
        both => panic!("one of two is taken: {both:?}"),
    };
    assert!(matches!(refused, ProfileError::Taken), "{refused}");

    let mut bytes = Vec::new();
    GzDecoder::new(profile.as_slice()).read_to_end(&mut bytes).unwrap();
    let profile = Profile::parse_from_bytes(&bytes).unwrap();
    let text = |at: i64| profile.string_table[usize::try_from(at).unwrap()].as_str();
    let kinds: Vec<&str> = profile.sample_type.iter().map(|kind| text(kind.ty)).collect();
    assert_eq!(kinds, ["samples", "cpu"]);
    // One busy thread for two seconds is 198; a loaded machine gives it far less.
    let samples = samples_in(&profile, "burns_until_told");
    assert!((5..300).contains(&samples), "{samples} samples");

    // What ended makes room for the next.
    take(Length::seconds(1).unwrap()).await.unwrap();
}
