import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { SnapshotGateway } from '../core/snapshot.ts';
import type { ListenerCertificate } from '../xds/build/index.ts';

/** What the files of the listener's certificate hold, or why they cannot be used. */
export type CertificateFiles =
  | { readonly certificate: ListenerCertificate }
  /** Ends a sentence about the certificate; never quotes the files. */
  | { readonly problem: string };

/** The shortest RSA key that Envoy takes, in bits. */
const SHORTEST_RSA_BITS = 2048;
const CERTIFICATE_BLOCK = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/**
 * Reads the certificate of the public listener and looks whether Envoy can use it: a renewal is written in several
 * steps, and what is not yet whole, or not a pair, must not take the place of one that works.
 */
export async function readListenerCertificate(
  tls: NonNullable<SnapshotGateway['tls']>,
): Promise<CertificateFiles> {
  const [certificate, key, clientCa] = await Promise.all([
    read(tls.certificateFile),
    read(tls.keyFile),
    tls.clientCaFile === undefined ? undefined : read(tls.clientCaFile),
  ]);
  if (certificate === undefined) return { problem: `the file ${tls.certificateFile} cannot be read.` };
  if (key === undefined) return { problem: `the file ${tls.keyFile} cannot be read.` };
  if (tls.clientCaFile !== undefined) {
    if (clientCa === undefined) return { problem: `the file ${tls.clientCaFile} cannot be read.` };
    if (parseCertificates(clientCa) === undefined) {
      return { problem: `the file ${tls.clientCaFile} holds no PEM certificate.` };
    }
  }
  const leaf = parseCertificates(certificate)?.[0];
  if (leaf === undefined) return { problem: `the file ${tls.certificateFile} holds no PEM certificate.` };
  const keyProblem = problemOfKey(key, leaf);
  if (keyProblem !== undefined) return { problem: `the file ${tls.keyFile} ${keyProblem}` };
  return { certificate: { certificate, key, clientCa } };
}

async function read(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** Undefined where there is none, or one that is broken. */
function parseCertificates(pem: string): readonly X509Certificate[] | undefined {
  try {
    const certificates = (pem.match(CERTIFICATE_BLOCK) ?? []).map((block) => new X509Certificate(block));
    return certificates.length === 0 ? undefined : certificates;
  } catch {
    return undefined;
  }
}

function problemOfKey(pem: string, leaf: X509Certificate): string | undefined {
  try {
    const key = createPrivateKey(pem);
    if (!leaf.checkPrivateKey(key)) return 'holds the key of another certificate.';
    if (key.asymmetricKeyType === 'ec') return undefined;
    const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
    if (key.asymmetricKeyType === 'rsa' && bits >= SHORTEST_RSA_BITS) return undefined;
    return `holds a key that Envoy does not take; ECDSA and RSA of ${SHORTEST_RSA_BITS} bits or more are.`;
  } catch {
    return 'holds no PEM private key without a passphrase.';
  }
}
