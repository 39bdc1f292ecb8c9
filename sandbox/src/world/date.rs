//! Seconds since 1970 in CC's format (`2026-11-23T15:41:14Z`): the proleptic Gregorian calendar,
//! without leap seconds.

/// Days from 0000-03-01 to 1970-01-01. Years start in March here, so that the leap day is the last
/// day.
const DAYS_BEFORE_1970: i64 = 719_468;
/// Days of 400 years. After them the calendar repeats.
const ERA: i64 = 146_097;
const DAY: i64 = 86_400;

/// Writes the time in ISO 8601, to the second.
pub(crate) fn iso(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let shifted = days + DAYS_BEFORE_1970;
    let (era, day) = (shifted.div_euclid(ERA), shifted.rem_euclid(ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, turn) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!(
        "{:04}-{month:02}-{of_month:02}T{:02}:{:02}:{:02}Z",
        era * 400 + year + turn,
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::iso;

    #[test]
    fn known_times_are_written_in_ccs_format() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_448_474, "2026-11-23T15:41:14Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(iso(seconds), text);
        }
    }
}
