// A SAML 2.0 identity provider (npm samlp) for tests. argv: ACS URL, files of
// certificate and key, audience. Whoever comes is dana. With the service
// provider's certificate in the file SP_CERT, requests must be signed and assertions
// are encrypted.
import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import express from 'express';
import samlp from 'samlp';

const [acs, cert, key, audience] = process.argv.slice(2);
const options = {
  issuer: 'urn:idp.example', cert: readFileSync(cert), key: readFileSync(key), audience,
  getPostURL: (_audience, _dom, _req, done) => done(null, acs),
  getUserFromRequest: () => ({ id: 'dana@example.com' }),
  recipient: acs, destination: acs,
  signResponse: process.env.SIGN === 'response', signAssertion: process.env.SIGN !== 'response',
  signatureAlgorithm: 'rsa-sha256', digestAlgorithm: 'sha256',
  profileMapper: (user) => ({
    getClaims: () => ({ groups: ['staff', 'team-aws-reader'], mail: user.id }),
    getNameIdentifier: () => ({ nameIdentifier: user.id }),
    metadata: [],
  }),
};
const app = express();
app.get('/sso', (req, res, next) => {
  const sp = process.env.SP_CERT ? readFileSync(process.env.SP_CERT, 'utf8') : undefined;
  const secret = sp && { signingCert: sp, encryptionCert: sp, encryptionPublicKey: createPublicKey(sp).export({ type: 'spki', format: 'pem' }) };
  samlp.auth({ ...options, ...secret })(req, res, next);
});
app.get('/metadata', samlp.metadata({ issuer: options.issuer, cert: options.cert, redirectEndpointPath: '/sso', postEndpointPath: '/sso', profileMapper: { prototype: { metadata: [] } } }));
const server = app.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
