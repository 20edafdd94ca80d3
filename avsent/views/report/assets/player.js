/* The video or sound: linked or carried in the page, played from here or there up to some moment. */

const OVERRUN_S = 0.02; // a frame of the screen: it may stop this much late, never early

const player = {
  media: null,
  stopAt: null, // plays up to here, null: to its end
  onTime: () => {}, // called with the time while it plays, and when it was moved
};

function buildPlayer(place, head) {
  const about = head.media;
  if (!about) {
    place.classList.add("without");
    place.append(
      make("p", { class: "quiet" }, "Made without the media file: no pictures, nothing to play. ",
        "Give it with --video to have them."),
    );
    return;
  }
  const kind = about.kind === "audio" ? "audio" : "video";
  const media = make(kind, {
    controls: true,
    playsinline: true,
    preload: "metadata",
    "aria-label": about.name,
  });
  player.media = media;
  media.addEventListener("error", () => refuse(place, about));
  media.addEventListener("loadedmetadata", () => {
    if (kind === "video" && media.videoWidth === 0) soundOnly(place, about);
  });
  media.addEventListener("timeupdate", tick);
  media.addEventListener("seeked", tick);
  media.addEventListener("play", watch);
  place.classList.add(kind);
  place.append(media);
  if (about.url === null) carried(about.type).then((url) => (media.src = url));
  else media.src = about.url;
}

/* The file as the page carries it: some script elements of base64, after the scripts. */
async function carried(type) {
  if (document.readyState === "loading") {
    await new Promise((done) => document.addEventListener("DOMContentLoaded", done));
  }
  const parts = [];
  for (const block of document.querySelectorAll("script.media")) {
    parts.push(bytesOf(block.textContent));
    block.remove(); // it need not be in memory twice
    await new Promise((done) => setTimeout(done)); // the page stays alive meanwhile
  }
  return URL.createObjectURL(new Blob(parts, { type }));
}

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place++) bytes[place] = text.charCodeAt(place);
  return bytes;
}

function refuse(place, about) {
  player.media.hidden = true;
  player.media = null;
  const ending = about.name.includes(".") ? about.name.split(".").pop().toUpperCase() : "its";
  place.classList.add("without");
  place.append(
    make("p", { class: "note" }, `This browser cannot play ${about.name}: `,
      about.url === null ? "" : "it is not where it was when this page was made, or ",
      `${ending} is a format that browsers do not know. The rest of the page works without it. `,
      "avsent predict --annotate writes an mp4 that plays everywhere."),
  );
  document.dispatchEvent(new Event("unplayable"));
}

function soundOnly(place, about) {
  place.append(
    make("p", { class: "note" }, `This browser plays the sound of ${about.name}, but does not `,
      "know the format of its pictures."),
  );
}

/* Play from one moment to another; without the second, on to the end. */
function playFrom(start, end = null) {
  const { media } = player;
  if (!media) return;
  player.stopAt = end;
  media.currentTime = start;
  media.play().catch(() => {}); // told by the error event, or interrupted by a pause
}

function seek(time) {
  const { media } = player;
  if (!media) return;
  player.stopAt = null;
  media.currentTime = time;
}

function isPlaying() {
  return player.media !== null && !player.media.paused;
}

function togglePlaying(utterance) {
  const { media } = player;
  if (!media) return;
  if (!media.paused) {
    media.pause();
  } else if (utterance && (media.currentTime < utterance.start || media.currentTime >= utterance.end)) {
    playFrom(utterance.start, utterance.end);
  } else {
    media.play().catch(() => {});
  }
}

function tick() {
  const { media, stopAt } = player;
  if (!media) return;
  if (stopAt !== null && media.currentTime >= stopAt) {
    if (media.currentTime < stopAt + 0.5) media.pause(); // further on, the reader went there
    player.stopAt = null;
  }
  player.onTime(media.currentTime);
}

/* The event timeupdate comes four times a second, too seldom to stop at the end of a word. */
function watch() {
  if (!isPlaying()) return;
  const { media, stopAt } = player;
  const left = stopAt === null ? Infinity : (stopAt - media.currentTime) / media.playbackRate;
  tick();
  if (left > 0 && left < OVERRUN_S) setTimeout(tick, 1000 * left);
  requestAnimationFrame(watch);
}
