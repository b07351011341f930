package config

import (
	"crypto/tls"
	"crypto/x509"
	"os"
)

// readTLS reads the certificates of a section of a configuration. What is wrong with them is noted.
func readTLS(c *Config, path, caFile, certFile, keyFile string) *tls.Config {
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		raw, err := os.ReadFile(caFile)
		out.RootCAs = x509.NewCertPool()
		switch {
		case err != nil:
			c.note(&c.problems, path+".ca_file", "it cannot be read: "+cause(err))
		case !out.RootCAs.AppendCertsFromPEM(raw):
			c.note(&c.problems, path+".ca_file", "it contains no certificate in PEM form")
		}
	}
	if certFile != "" && keyFile != "" {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			c.note(&c.problems, path+".cert_file", "certificate and key cannot be used: "+cause(err))
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out
}

// checkTLS says what does not fit together in the fields about TLS.
func checkTLS(path string, on bool, caFile, certFile, keyFile string, bad note) {
	if !on && (caFile != "" || certFile != "" || keyFile != "") {
		bad(path+".tls", "certificate files are named: set tls to true, or leave them out")
	}
	if (certFile == "") != (keyFile == "") {
		bad(path+".cert_file", "give both cert_file and its key_file, or neither")
	}
}
