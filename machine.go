package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/device"
)

// deviceFile holds the key by which this machine is told from others. It stays
// when people sign out: a lock on the machine must go on naming it.
const deviceFile = "device.pem"

// deviceKey reads the machine's key, or makes it: of several sign-ins at once, one
// does.
func (h home) deviceKey() ([]byte, error) {
	path := filepath.Join(h.dir, deviceFile)
	key, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = device.NewKey(); err != nil {
		return nil, err
	}
	fresh, err := writePrivateTemp(h.dir, key)
	if err != nil {
		return nil, err
	}
	defer os.Remove(fresh)
	if err := os.Link(fresh, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.ReadFile(path)
}

// prove shows which machine asks for the certificate of a CSR.
func (h home) prove(csr string) (*api.DeviceProof, error) {
	key, err := h.deviceKey()
	if err != nil {
		return nil, err
	}
	name, _ := os.Hostname() // it may have none
	return device.Prove(key, name, csr)
}
