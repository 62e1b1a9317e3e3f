import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { isIPv4, isIPv6 } from 'node:net';

/** A certificate with what signed it, and its private key, both PEM. */
export interface IssuedCertificate {
  readonly certificate: string;
  readonly key: string;
}

export interface IssueOptions {
  /** DNS names, also with a wildcard, and IP addresses; the first is the common name too. */
  readonly names: readonly string[];
  /** Days from now; a negative number makes it an expired one. Ninety unless said otherwise. */
  readonly days?: number;
}

const DAY_MS = 86_400_000;
const OID = {
  commonName: '2.5.4.3',
  ecPublicKeySha256: '1.2.840.10045.4.3.2',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const;

/** One DER value: tag, length, content (X.690). */
function der(tag: number, ...content: readonly Buffer[]): Buffer {
  const body = Buffer.concat(content);
  if (body.length < 0x80) return Buffer.concat([Buffer.from([tag, body.length]), body]);
  const length: number[] = [];
  for (let rest = body.length; rest > 0; rest >>= 8) length.unshift(rest & 0xff);
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length, ...length]), body]);
}

const sequence = (...content: readonly Buffer[]): Buffer => der(0x30, ...content);
const octets = (content: Buffer): Buffer => der(0x04, content);
const bits = (content: Buffer, unused = 0): Buffer => der(0x03, Buffer.from([unused]), content);
const yes = der(0x01, Buffer.from([0xff]));

function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const part of rest) {
    const groups = [part & 0x7f];
    for (let left = part >> 7; left > 0; left >>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return der(0x06, Buffer.from(bytes));
}

/** Sixteen random bytes as a positive integer. */
function serialNumber(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return der(0x02, bytes);
}

function time(unixMs: number): Buffer {
  const digits = new Date(unixMs).toISOString().replace(/\D/g, '');
  return der(0x17, Buffer.from(`${digits.slice(2, 14)}Z`));
}

function distinguishedName(commonName: string): Buffer {
  return sequence(der(0x31, sequence(oid(OID.commonName), der(0x0c, Buffer.from(commonName)))));
}

function ipv6Bytes(address: string): Buffer {
  const [head = '', tail] = address.split('::');
  const groups = (text: string | undefined): string[] =>
    (text ?? '').split(':').filter((group) => group !== '');
  const [left, right] = [groups(head), groups(tail)];
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0');
  return Buffer.concat(
    [...left, ...zeros, ...right].map((group) => Buffer.from(group.padStart(4, '0'), 'hex')),
  );
}

function alternativeName(name: string): Buffer {
  if (isIPv4(name)) return der(0x87, Buffer.from(name.split('.').map(Number)));
  if (isIPv6(name)) return der(0x87, ipv6Bytes(name));
  return der(0x82, Buffer.from(name));
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return sequence(oid(id), ...(critical ? [yes] : []), octets(value));
}

const authorityExtensions = [
  extension(OID.basicConstraints, true, sequence(yes)),
  // keyCertSign and cRLSign.
  extension(OID.keyUsage, true, bits(Buffer.from([0x06]), 1)),
];

function leafExtensions(names: readonly string[]): Buffer[] {
  return [
    extension(OID.basicConstraints, true, sequence()),
    // digitalSignature.
    extension(OID.keyUsage, true, bits(Buffer.from([0x80]), 7)),
    extension(OID.extendedKeyUsage, false, sequence(oid(OID.serverAuth), oid(OID.clientAuth))),
    extension(OID.subjectAltName, false, sequence(...names.map(alternativeName))),
  ];
}

interface Contents {
  readonly issuer: string;
  readonly subject: string;
  readonly publicKey: KeyObject;
  readonly signingKey: KeyObject;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly extensions: readonly Buffer[];
}

/** An X.509 version 3 certificate (RFC 5280) as PEM, signed with ECDSA and SHA-256. */
function certificatePem(contents: Contents): string {
  const algorithm = sequence(oid(OID.ecPublicKeySha256));
  const signed = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    serialNumber(),
    algorithm,
    distinguishedName(contents.issuer),
    sequence(time(contents.notBefore), time(contents.notAfter)),
    distinguishedName(contents.subject),
    contents.publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...contents.extensions)),
  );
  const certificate = sequence(signed, algorithm, bits(sign('sha256', signed, contents.signingKey)));
  const lines = certificate.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

const newKeys = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });

/** A certificate authority of one test: its own certificate as PEM, and the certificates that it signs. */
export class CertificateAuthority {
  readonly certificate: string;
  readonly #name: string;
  readonly #keys = newKeys();

  constructor(name: string) {
    this.#name = name;
    const now = Date.now();
    this.certificate = certificatePem({
      issuer: name,
      subject: name,
      publicKey: this.#keys.publicKey,
      signingKey: this.#keys.privateKey,
      notBefore: now - 365 * DAY_MS,
      notAfter: now + 365 * DAY_MS,
      extensions: authorityExtensions,
    });
  }

  /** A fresh key and its certificate, good for servers and for clients. */
  issue({ names, days = 90 }: IssueOptions): IssuedCertificate {
    const keys = newKeys();
    const now = Date.now();
    return {
      certificate: certificatePem({
        issuer: this.#name,
        subject: names[0] ?? 'nobody',
        publicKey: keys.publicKey,
        signingKey: this.#keys.privateKey,
        notBefore: now - 180 * DAY_MS,
        notAfter: now + days * DAY_MS,
        extensions: leafExtensions(names),
      }),
      key: keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    };
  }
}
