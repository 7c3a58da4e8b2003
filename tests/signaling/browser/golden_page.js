// Loads the coder as the page does and checks the golden vectors; the result is left for the test to read.

import { FacePrior } from "./coder/prior.js";
import { checkGolden } from "./golden.js";

async function load(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

try {
  const prior = FacePrior.load(await (await load("/weights/face_prior.safetensors")).arrayBuffer());
  const face = await (await load("/golden_face.json")).json();
  window.golden = checkGolden(prior, face, await (await load("/golden_browser.json")).json());
} catch (error) {
  window.golden = { checks: 0, failures: [String(error?.stack ?? error)] };
}
