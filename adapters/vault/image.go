package vault

import (
	"github.com/chirograph/chirograph/adapters/internal/sqliteimage"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Sight is what a look at a vault's file shows.
type Sight struct {
	Known       ledger.Known
	Fingerprint string
	// Used: personal data may have been sealed under its keys.
	Used bool
}

// Look reads a vault's file as it is, with the first of the master key files that fits. It takes no lock and
// changes nothing. The error is fs.ErrNotExist, one of sqliteimage, or one of ReadFingerprint.
func Look(path string, masterKeyFiles ...string) (s Sight, err error) {
	image, err := sqliteimage.Open(path)
	if err != nil {
		return s, err
	}
	defer image.Close()
	if s.Known, s.Used, err = ReadKnown(image.DB()); err != nil {
		return s, err
	}
	s.Fingerprint, err = ReadFingerprint(image.DB(), masterKeyFiles...)
	return s, err
}
