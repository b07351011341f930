import com.cloudhopper.commons.charset.CharsetUtil;
import com.cloudhopper.smpp.PduAsyncResponse;
import com.cloudhopper.smpp.SmppServerConfiguration;
import com.cloudhopper.smpp.SmppServerHandler;
import com.cloudhopper.smpp.SmppServerSession;
import com.cloudhopper.smpp.SmppSessionConfiguration;
import com.cloudhopper.smpp.impl.DefaultSmppServer;
import com.cloudhopper.smpp.impl.DefaultSmppSession;
import com.cloudhopper.smpp.impl.DefaultSmppSessionHandler;
import com.cloudhopper.smpp.pdu.BaseBind;
import com.cloudhopper.smpp.pdu.BaseBindResp;
import com.cloudhopper.smpp.pdu.BaseSm;
import com.cloudhopper.smpp.pdu.DataSm;
import com.cloudhopper.smpp.pdu.DeliverSm;
import com.cloudhopper.smpp.pdu.EnquireLink;
import com.cloudhopper.smpp.pdu.GenericNack;
import com.cloudhopper.smpp.pdu.Pdu;
import com.cloudhopper.smpp.pdu.PduRequest;
import com.cloudhopper.smpp.pdu.PduResponse;
import com.cloudhopper.smpp.pdu.SubmitSm;
import com.cloudhopper.smpp.pdu.SubmitSmResp;
import com.cloudhopper.smpp.pdu.Unbind;
import com.cloudhopper.smpp.tlv.Tlv;
import com.cloudhopper.smpp.type.Address;
import com.cloudhopper.smpp.type.RecoverablePduException;
import com.cloudhopper.smpp.type.UnrecoverablePduException;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import org.jboss.netty.buffer.ChannelBuffers;

/**
 * A message centre by ch-smpp. It reads commands from standard input, name=value a line and a line "." at the end, and
 * writes what happens to standard output, one JSON value a line; centre_test.go says which.
 */
public final class Centre implements SmppServerHandler {
  private static final HexFormat HEX = HexFormat.of();

  private static volatile DefaultSmppSession session;
  private static final ArrayDeque<String> answers = new ArrayDeque<>();
  private static int id;

  /** A JSON object under way. */
  private static final class Event {
    private final StringBuilder out = new StringBuilder();

    Event(String event) {
      out.append("{\"event\":\"").append(event).append('"');
    }

    Event put(String name, String value) {
      if (value == null || value.isEmpty()) {
        return this;
      }
      out.append(",\"").append(name).append("\":\"");
      for (char c : value.toCharArray()) {
        if (c < 0x20 || c == '"' || c == '\\') {
          out.append(String.format("\\u%04x", (int) c));
        } else {
          out.append(c);
        }
      }
      out.append('"');
      return this;
    }

    Event put(String name, long value) {
      out.append(",\"").append(name).append("\":").append(value);
      return this;
    }

    void say() {
      byte[] line = out.append("}\n").toString().getBytes(StandardCharsets.UTF_8);
      synchronized (System.out) {
        System.out.write(line, 0, line.length);
        System.out.flush();
      }
    }
  }

  private static Event got(Pdu pdu) {
    return new Event("got").put("command", pdu.getName()).put("sequence", pdu.getSequenceNumber())
        .put("status", pdu.getCommandStatus() & 0xFFFFFFFFL);
  }

  private static void message(BaseSm<?> m) throws Exception {
    Event e = got(m).put("service_type", m.getServiceType());
    Address from = m.getSourceAddress();
    Address to = m.getDestAddress();
    e.put("source_addr_ton", from.getTon()).put("source_addr_npi", from.getNpi()).put("source_addr", from.getAddress());
    e.put("dest_addr_ton", to.getTon()).put("dest_addr_npi", to.getNpi()).put("destination_addr", to.getAddress());
    e.put("esm_class", m.getEsmClass() & 0xFF).put("protocol_id", m.getProtocolId() & 0xFF).put("priority_flag", m.getPriority());
    e.put("registered_delivery", m.getRegisteredDelivery()).put("replace_if_present_flag", m.getReplaceIfPresent());
    e.put("data_coding", m.getDataCoding() & 0xFF).put("sm_default_msg_id", m.getDefaultMsgId());
    e.put("period", m.getValidityPeriod()).put("octets", HEX.formatHex(m.getShortMessage()));
    byte[] text = m.getShortMessage();
    if ((m.getEsmClass() & 0x40) != 0) {
      text = java.util.Arrays.copyOfRange(text, (text[0] & 0xFF) + 1, text.length);
    }
    e.put("text", CharsetUtil.decode(text, charset(m.getDataCoding())));
    Tlv reference = m.getOptionalParameter((short) 0x0204);
    if (reference != null) {
      e.put("user_message_reference", reference.getValueAsUnsignedShort());
    }
    if (m.getOptionalParameterCount() != (reference == null ? 0 : 1)) {
      e.put("problem", m.getOptionalParameterCount() + " optional parameters");
    }
    e.say();
  }

  private static com.cloudhopper.commons.charset.Charset charset(byte coding) {
    switch (coding) {
      case 8:
        return CharsetUtil.CHARSET_UCS_2;
      case 1:
      case 3:
        return CharsetUtil.CHARSET_ISO_8859_1;
      default:
        return CharsetUtil.CHARSET_GSM;
    }
  }

  /** What a bound session receives. */
  private static final class Receiver extends DefaultSmppSessionHandler {
    @Override
    public PduResponse firePduRequestReceived(PduRequest request) {
      try {
        if (!(request instanceof SubmitSm)) {
          got(request).say();
          return request.createResponse();
        }
        message((SubmitSm) request);
        return answer((SubmitSm) request);
      } catch (Exception e) {
        new Event("error").put("text", e.toString()).say();
        return request.createResponse();
      }
    }

    @Override
    public void fireExpectedPduResponseReceived(PduAsyncResponse response) {
      got(response.getResponse()).say();
    }

    @Override
    public void fireUnexpectedPduResponseReceived(PduResponse response) {
      Event e = got(response);
      if (!(response instanceof GenericNack)) { // that answers what was written past the session
        e.put("problem", "a response without a request");
      }
      e.say();
    }

    @Override
    public void fireUnrecoverablePduException(UnrecoverablePduException e) {
      new Event("error").put("text", e.toString()).say();
    }

    @Override
    public void fireRecoverablePduException(RecoverablePduException e) {
      new Event("error").put("text", e.toString()).say();
    }
  }

  /** The response to a submit; a generic_nack is written past the session, and stands for it. */
  private static PduResponse answer(SubmitSm request) throws Exception {
    String how;
    synchronized (answers) {
      how = answers.poll();
    }
    SubmitSmResp response = request.createResponse();
    if (how == null) {
      response.setMessageId("java-" + (++id));
    } else if (how.startsWith("nack:")) {
      GenericNack nack = new GenericNack();
      nack.setSequenceNumber(request.getSequenceNumber());
      nack.setCommandStatus(Integer.parseInt(how.substring(5)));
      session.sendResponsePdu(nack);
      return null;
    } else {
      response.setCommandStatus(Integer.parseInt(how));
    }
    return response;
  }

  @Override
  public void sessionBindRequested(Long sessionId, SmppSessionConfiguration configuration, BaseBind bind) {
    got(bind).put("system_id", bind.getSystemId()).put("password", bind.getPassword()).put("system_type", bind.getSystemType())
        .put("interface_version", bind.getInterfaceVersion()).put("addr_ton", bind.getAddressRange().getTon())
        .put("addr_npi", bind.getAddressRange().getNpi()).put("address_range", bind.getAddressRange().getAddress()).say();
    configuration.setName("centre");
  }

  @Override
  public void sessionCreated(Long sessionId, SmppServerSession created, BaseBindResp response) {
    session = (DefaultSmppSession) created;
    created.serverReady(new Receiver());
  }

  @Override
  public void sessionDestroyed(Long sessionId, SmppServerSession destroyed) {
    destroyed.destroy();
    new Event("closed").say();
  }

  private static int number(Map<String, String> c, String name) {
    return Integer.parseInt(c.getOrDefault(name, "0"));
  }

  private static void fill(BaseSm<?> m, Map<String, String> c) throws Exception {
    m.setSourceAddress(new Address((byte) 1, (byte) 1, c.get("source")));
    m.setDestAddress(new Address((byte) 1, (byte) 1, c.get("destination")));
    m.setEsmClass((byte) number(c, "esm_class"));
    byte coding = Map.of("default", (byte) 0, "ascii", (byte) 1, "latin1", (byte) 3, "ucs2", (byte) 8).get(c.getOrDefault("coding", "default"));
    m.setDataCoding(coding);
    byte[] text = CharsetUtil.encode(c.getOrDefault("text", ""), charset(coding));
    if (c.containsKey("udh")) {
      byte[] udh = HEX.parseHex(c.get("udh"));
      text = ByteBuffer.allocate(udh.length + text.length).put(udh).put(text).array();
      m.setEsmClass((byte) (m.getEsmClass() | 0x40));
    }
    if (m instanceof DataSm || c.containsKey("payload")) {
      m.addOptionalParameter(new Tlv((short) 0x0424, text));
    } else {
      m.setShortMessage(text);
    }
    if (c.containsKey("state")) {
      m.addOptionalParameter(new Tlv((short) 0x001E, (c.get("receipt") + "\0").getBytes(StandardCharsets.US_ASCII)));
      m.addOptionalParameter(new Tlv((short) 0x0427, new byte[] {(byte) number(c, "state")}));
    }
    if (c.containsKey("error")) {
      m.addOptionalParameter(new Tlv((short) 0x0423, HEX.parseHex(c.get("error"))));
    }
    if (c.containsKey("reference")) {
      m.addOptionalParameter(new Tlv((short) 0x0204, ByteBuffer.allocate(2).putShort((short) number(c, "reference")).array()));
    }
    if (c.containsKey("parts")) {
      m.addOptionalParameter(new Tlv((short) 0x020C, ByteBuffer.allocate(2).putShort((short) number(c, "sar")).array()));
      m.addOptionalParameter(new Tlv((short) 0x020E, new byte[] {(byte) number(c, "parts")}));
      m.addOptionalParameter(new Tlv((short) 0x020F, new byte[] {(byte) number(c, "part")}));
    }
  }

  private static void run(Map<String, String> c) throws Exception {
    String command = c.get("command");
    Event sent = new Event("sent").put("command", command);
    PduRequest<?> request;
    switch (command) {
      case "answers":
        synchronized (answers) {
          answers.clear();
          for (String how : c.get("answers").split(",")) {
            answers.add(how);
          }
        }
        sent.say();
        return;
      case "deliver_sm":
        request = new DeliverSm();
        fill((DeliverSm) request, c);
        break;
      case "data_sm":
        request = new DataSm();
        fill((DataSm) request, c);
        break;
      case "enquire_link":
        request = new EnquireLink();
        break;
      case "unbind":
        request = new Unbind();
        break;
      default: // ch-smpp sends no others
        sent.say();
        session.getChannel().write(ChannelBuffers.wrappedBuffer(HEX.parseHex(c.get("octets"))));
        return;
    }
    request.setSequenceNumber(session.getSequenceNumber().next());
    sent.put("sequence", request.getSequenceNumber()).say();
    session.sendRequestPdu(request, 30000, false);
  }

  public static void main(String[] args) throws Exception {
    int port;
    try (java.net.ServerSocket free = new java.net.ServerSocket(0)) { // ch-smpp does not say which port it was given
      port = free.getLocalPort();
    }
    SmppServerConfiguration configuration = new SmppServerConfiguration();
    configuration.setHost("127.0.0.1");
    configuration.setPort(port);
    configuration.setSystemId("ch-smpp");
    configuration.setDefaultWindowSize(100);
    configuration.setJmxEnabled(false);
    DefaultSmppServer server = new DefaultSmppServer(configuration, new Centre(), java.util.concurrent.Executors.newCachedThreadPool());
    server.start();
    new Event("port").put("port", port).say();
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    Map<String, String> command = new HashMap<>();
    for (String line; (line = in.readLine()) != null; ) {
      if (line.equals(".")) {
        run(command);
        command.clear();
      } else {
        int at = line.indexOf('=');
        command.put(line.substring(0, at), line.substring(at + 1));
      }
    }
    System.exit(0);
  }
}
