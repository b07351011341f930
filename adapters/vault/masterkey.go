package vault

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/chirograph/chirograph/adapters/internal/datafile"
)

// readMasterKey reads the master key from a file: 32 bytes, in hexadecimal or base64.
func readMasterKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// On Windows the mode says nothing about who may read.
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the master key file %s can be read by others (mode %04o): chmod 600 it", path, info.Mode().Perm())
	}
	buf, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return nil, err
	}
	defer clear(buf)
	text := strings.TrimSpace(string(buf))
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString,
		base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
		base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if key, err := decode(text); err == nil && len(key) == keySize {
			return key, nil
		}
	}
	return nil, fmt.Errorf("the master key file %s must hold %d random bytes, in hexadecimal or base64 (openssl rand -hex %d makes them)", path, keySize, keySize)
}

// createMasterKey makes a master key in a new file, and never overwrites a file. A crash in it leaves a
// whole key that is durable, or no file of that name: no vault was made under it then.
func createMasterKey(path string) ([]byte, error) {
	if err := datafile.MakeFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	key := newKey()
	if err := datafile.Make(path, []byte(hex.EncodeToString(key)+"\n")); err != nil {
		return nil, err
	}
	return key, nil
}
