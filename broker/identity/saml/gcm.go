package saml

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"strings"
	"sync"

	"github.com/beevik/etree"
	"github.com/crewjam/saml/xmlenc"
)

// knowGCM tells the library, which keeps a registry, of the one usual way to
// encrypt that it lacks.
var knowGCM = sync.OnceFunc(func() { xmlenc.RegisterDecrypter(aes256GCM{}) })

// aes256GCM: XML Encryption 1.1, 5.2.4.
type aes256GCM struct{}

func (aes256GCM) Algorithm() string { return "http://www.w3.org/2009/xmlenc11#aes256-gcm" }

func (aes256GCM) Decrypt(key any, data *etree.Element) ([]byte, error) {
	if wrapped := data.FindElement("./KeyInfo/EncryptedKey"); wrapped != nil {
		var err error
		if key, err = xmlenc.Decrypt(key, wrapped); err != nil {
			return nil, err
		}
	}
	secret, ok := key.([]byte)
	if !ok || len(secret) != 32 {
		return nil, errors.New("the key is not one of AES-256")
	}
	value := data.FindElement("./CipherData/CipherValue")
	if value == nil {
		return nil, errors.New("there is no CipherValue")
	}
	text, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(value.Text()), ""))
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, nil, text, nil)
}
