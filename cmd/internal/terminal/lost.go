package terminal

// Lost says in a word why personal data is not shown; "" if it is shown.
func Lost(erased, keyMissing bool) string {
	switch {
	case erased:
		return "erased"
	case keyMissing:
		return "key missing"
	}
	return ""
}
