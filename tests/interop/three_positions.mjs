// Usage: node three_positions.mjs NODE_MODULES KIND FILE SECONDS... [-- VRM...]
// KIND: gltf, fbx, or vrma (played on each VRM). Prints one JSON line: places of bones in the world at those times.
import fs from "fs";
import path from "path";
import { pathToFileURL } from "url";

const [modules, kind, file, ...rest] = process.argv.slice(2);
const cut = rest.indexOf("--");
const times = (cut < 0 ? rest : rest.slice(0, cut)).map(Number);
const avatars = cut < 0 ? [] : rest.slice(cut + 1);
const from = (name) => import(pathToFileURL(path.resolve(modules, name)).href);
globalThis.self = globalThis;
globalThis.window = globalThis;
const THREE = await from("three/build/three.module.js");

const bytes = (name) => {
  const raw = fs.readFileSync(name);
  return raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength);
};
const places = (root) => {
  root.updateMatrixWorld(true);
  const found = {};
  root.traverse((node) => {
    if (node.name) found[node.name] = new THREE.Vector3().setFromMatrixPosition(node.matrixWorld).toArray();
  });
  return found;
};
const play = (root, clip, update, read) => {
  const mixer = new THREE.AnimationMixer(root);
  const action = mixer.clipAction(clip);
  action.setLoop(THREE.LoopOnce, 1);
  action.clampWhenFinished = true;
  action.play();
  return times.map((time) => {
    mixer.setTime(time);
    update();
    return read();
  });
};

let result;
if (kind === "fbx") {
  const { FBXLoader } = await from("three/examples/jsm/loaders/FBXLoader.js");
  const root = new FBXLoader().parse(bytes(file), "");
  const clip = root.animations.at(-1);
  result = { name: clip.name, duration: clip.duration, frames: play(root, clip, () => {}, () => places(root)) };
} else {
  const { GLTFLoader } = await from("three/examples/jsm/loaders/GLTFLoader.js");
  const loader = new GLTFLoader();
  const parse = (name) => new Promise((resolve, reject) => loader.parse(bytes(name), "", resolve, reject));
  if (kind === "gltf") {
    const found = await parse(file);
    const clip = found.animations.at(-1);
    result = { name: clip.name, duration: clip.duration, frames: play(found.scene, clip, () => {}, () => places(found.scene)) };
  } else {
    const { VRMLoaderPlugin } = await from("@pixiv/three-vrm/lib/three-vrm.module.js");
    const vrma = await from("@pixiv/three-vrm-animation/lib/three-vrm-animation.module.js");
    loader.register((parser) => new VRMLoaderPlugin(parser));
    loader.register((parser) => new vrma.VRMAnimationLoaderPlugin(parser));
    const animation = (await parse(file)).userData.vrmAnimations[0];
    result = [];
    for (const avatar of avatars) {
      const vrm = (await parse(avatar)).userData.vrm;
      const clip = vrma.createVRMAnimationClip(animation, vrm);
      const read = () => {
        vrm.scene.updateMatrixWorld(true);
        const found = {};
        for (const bone of Object.keys(vrm.humanoid.humanBones)) {
          const node = vrm.humanoid.getRawBoneNode(bone);
          found[bone] = new THREE.Vector3().setFromMatrixPosition(node.matrixWorld).toArray();
        }
        return found;
      };
      result.push({ duration: clip.duration, frames: play(vrm.scene, clip, () => vrm.update(0), read) });
    }
  }
}
console.log("RESULT " + JSON.stringify(result));
